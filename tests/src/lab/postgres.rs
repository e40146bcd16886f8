//! PostgreSQL, as fast to start as it can be: its files are made once a version
//! and copied for each run.

use std::{
    fs::{self, File},
    net::IpAddr,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use lingyun::config::InstanceId;
use nix::unistd;

use super::{
    config::Kind, names::RunId, process::User, running::Lab, services::name, tool, up::PATIENCE,
};

/// Its port.
pub const PORT: u16 = 5432;

/// What its processes are called.
pub(super) const NAME: &str = "postgresql";

/// Where Debian puts each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

const CACHE: &str = "/var/cache/lingyun-lab";

/// Part of the cache's name: another set-up is another cache.
const SETUP: &str = "2";

/// What is done to a fresh cluster, one statement a line. Each database is 300
/// files to be copied for each run, so there are no more than needed.
const STATEMENTS: &str = "\
ALTER DATABASE postgres RENAME TO orders
UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'
DROP DATABASE template0
";

/// How a client finds the database.
pub(super) fn conninfo(address: IpAddr) -> String {
    format!("host={address} port={PORT} user=orders dbname=orders connect_timeout=5")
}

/// Makes the files of every database of the lab.
pub(super) fn make_files(lab: &Lab) -> Result<String> {
    let nodes = lab
        .site
        .services()
        .filter(|(_, _, kind)| matches!(kind, Kind::Postgresql(_)));
    let nodes: Vec<_> = nodes.map(|(_, node, _)| node).collect();
    if nodes.is_empty() {
        return Ok("none needed".to_owned());
    }
    let (version, programs) = newest()?;
    let user = user()?;
    let (cache, is_new) = cache(lab.run(), &version, &programs, user)?;
    for node in nodes {
        let data = data(lab, &node);
        // -a keeps owner and modes, which PostgreSQL insists on.
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"]).arg(&cache).arg(data);
        tool::run(lab.run(), &mut copy, b"")?;
    }
    let from = if is_new {
        "made and cached"
    } else {
        "from the cache"
    };
    Ok(format!("PostgreSQL {version}, {from}"))
}

/// Starts a database and waits until it answers.
pub(super) fn start(lab: &Lab, id: InstanceId, node: &str) -> Result<()> {
    let (_, programs) = newest()?;
    let user = user()?;
    let data = data(lab, node);
    let subnet = lab.site.topology.subnet_of(id).cidr;
    let access = data.join("pg_hba.conf");
    fs::write(
        &access,
        format!("local all all trust\nhost all all {subnet} trust\n"),
    )
    .with_context(|| format!("write {}", access.display()))?;
    let setting = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
    let argv = [
        programs.join("postgres").display().to_string(),
        "-D".to_owned(),
    ];
    let data_text = data.display().to_string();
    let address = lab.site.topology.instance(id).ip.to_string();
    let settings = [
        ("listen_addresses", address.as_str()),
        ("unix_socket_directories", &data_text),
        // A lab's disk need not survive a power cut.
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
        ("shared_buffers", "16MB"),
        ("max_connections", "60"),
        // In the data directory, so that they go with it.
        ("dynamic_shared_memory_type", "mmap"),
    ];
    let argv = argv.into_iter().chain([data_text.clone()]);
    let argv = argv.chain(
        settings
            .iter()
            .flat_map(|(name, value)| setting(name, value)),
    );
    let process = lab.start(
        node,
        &name(node, NAME),
        argv.collect(),
        Vec::new(),
        Some(user),
    )?;
    let is_ready = programs.join("pg_isready");
    lab.wait(PATIENCE, &[&process], || {
        let mut ask = Command::new(&is_ready);
        ask.args(["-h", &data_text, "-U", "orders"]);
        tool::run(lab.run(), &mut ask, b"")
    })
}

fn data(lab: &Lab, node: &str) -> PathBuf {
    lab.directory().join(format!("{}.data", name(node, NAME)))
}

/// The newest version that is installed, and its programs.
fn newest() -> Result<(String, PathBuf)> {
    let entries = fs::read_dir(VERSIONS).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbers = names.filter_map(|name| name.parse::<u32>().ok());
    let newest = numbers
        .max()
        .with_context(|| format!("no PostgreSQL in {VERSIONS}: `cargo xtask setup` installs it"))?;
    let programs = Path::new(VERSIONS).join(newest.to_string()).join("bin");
    Ok((newest.to_string(), programs))
}

fn user() -> Result<User> {
    let user = unistd::User::from_name("postgres").context("look up the user postgres")?;
    let user =
        user.context("there is no user postgres: `cargo xtask setup` installs PostgreSQL")?;
    Ok(User {
        uid: user.uid,
        gid: user.gid,
    })
}

/// Files of a fresh database `orders`; made when nobody has yet.
fn cache(run: &RunId, version: &str, programs: &Path, user: User) -> Result<(PathBuf, bool)> {
    let ready = Path::new(CACHE).join(format!("postgresql-{version}-{SETUP}"));
    fs::create_dir_all(CACHE).with_context(|| format!("create {CACHE}"))?;
    // Two labs that start at once make it once.
    let lock = File::open(CACHE).with_context(|| format!("open {CACHE}"))?;
    lock.lock().with_context(|| format!("lock {CACHE}"))?;
    if ready.is_dir() {
        return Ok((ready, false));
    }
    let new = Path::new(CACHE).join("new");
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("remove {}", new.display()))?;
    }
    fs::create_dir(&new).with_context(|| format!("create {}", new.display()))?;
    chown(&new, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .with_context(|| format!("give {} to postgres", new.display()))?;
    let as_user = |program: &str| {
        let mut command = Command::new(programs.join(program));
        command
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .current_dir("/");
        command
    };
    let mut init = as_user("initdb");
    init.arg("-D")
        .arg(&new)
        .args(["-U", "orders", "-A", "trust", "-E", "UTF8"]);
    init.args(["--locale=C", "--no-sync", "--wal-segsize=1"]);
    tool::run(run, &mut init, b"")?;
    let mut single = as_user("postgres");
    single
        .args(["--single", "-F", "-D"])
        .arg(&new)
        .arg("template1");
    single.args(["-c", "exit_on_error=on"]);
    tool::run(run, &mut single, STATEMENTS.as_bytes())?;
    fs::rename(&new, &ready).with_context(|| format!("rename to {}", ready.display()))?;
    Ok((ready, true))
}
