//! A PostgreSQL server of the test's own: files and socket in a temporary folder,
//! no TCP.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use tempfile::TempDir;

use super::process::{Process, output};

/// A running server; its files go with it.
pub(crate) struct Postgres {
    // Declared before the folder: the server must end before its files go.
    server: Option<Process>,
    dir: TempDir,
    user: User,
    programs: PathBuf,
}

impl Postgres {
    /// What is missing to run one here.
    pub(crate) fn missing() -> Option<String> {
        if !geteuid().is_root() {
            return Some("needs root to become the user postgres".to_owned());
        }
        programs()
            .err()
            .or_else(|| user().err())
            .map(|error| error.to_string())
    }

    /// Makes a database `orders` with the user `orders`, and starts the server.
    pub(crate) fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ly-postgres-").tempdir()?;
        let user = user()?;
        chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let mut postgres = Self {
            server: None,
            dir,
            user,
            programs: programs()?,
        };
        let data = postgres.data();
        output(
            postgres
                .command("initdb")
                .args([
                    "--auth=trust",
                    "--no-sync",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--pgdata",
                ])
                .arg(data),
        )?;
        postgres.up()?;
        for sql in [
            "CREATE ROLE orders LOGIN",
            "CREATE DATABASE orders OWNER orders",
        ] {
            let mut psql = postgres.command("psql");
            output(
                psql.arg("--host")
                    .arg(postgres.dir.path())
                    .args(["--command", sql]),
            )?;
        }
        Ok(postgres)
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn up(&mut self) -> Result<()> {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.dir.path());
        command.args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "log_min_messages=fatal",
        ]);
        // SIGQUIT: at once; the files are thrown away.
        self.server = Some(Process::start(
            command.stdout(Stdio::null()),
            Signal::SIGQUIT,
        )?);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut ready = self.command("pg_isready");
            let ready = output(ready.arg("--host").arg(self.dir.path()));
            match ready {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("PostgreSQL does not start"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Ends the server; [`Postgres::up`] starts it again with its data.
    pub(crate) fn down(&mut self) {
        self.server = None;
    }

    /// How to connect, the libpq way.
    pub(crate) fn description(&self) -> String {
        format!(
            "host={} user=orders dbname=orders",
            self.dir.path().display()
        )
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .uid(self.user.uid.as_raw())
            .gid(self.user.gid.as_raw())
            .current_dir("/");
        command.stdin(Stdio::null()).env_remove("PGDATA");
        command
    }
}

fn user() -> Result<User> {
    User::from_name("postgres")?.context("no user postgres")
}

/// The folder of the newest installed server.
fn programs() -> Result<PathBuf> {
    let mut found = Vec::new();
    for version in fs::read_dir("/usr/lib/postgresql").into_iter().flatten() {
        let programs = version?.path().join("bin");
        if Path::new(&programs).join("initdb").exists() {
            found.push(programs);
        }
    }
    found.sort();
    match found.pop() {
        Some(programs) => Ok(programs),
        None => bail!("PostgreSQL is not installed"),
    }
}
