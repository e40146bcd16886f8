//! Takes orders over HTTPS and writes them to PostgreSQL. See [`gateway_tests::order`].

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, Result};
use axum::serve::Listener;
use clap::{Args, Parser, Subcommand};
use gateway_tests::{
    listen::until_told_to_end,
    order::{
        api::{self, Service},
        store::Store,
        tls,
    },
};
use tokio::net::TcpListener;

#[derive(Parser)]
#[command(about = "Takes orders over HTTPS and writes them to PostgreSQL")]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<Serve>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the word may be left out).
    Serve(Serve),
    /// Make a lab authority and a server certificate: ca.pem, cert.pem, key.pem.
    MakeCa {
        /// Where to write them.
        #[arg(long)]
        dir: PathBuf,
        /// Name in the certificate.
        #[arg(long)]
        host: String,
        /// Address in the certificate.
        #[arg(long)]
        ip: IpAddr,
    },
}

#[derive(Args)]
struct Serve {
    /// Address to listen on.
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Where PostgreSQL is, such as "host=172.16.1.31 user=orders dbname=orders".
    #[arg(long)]
    database: String,
    /// Folder with cert.pem and key.pem.
    #[arg(long, value_name = "DIR")]
    cert_dir: PathBuf,
    /// Name of this service, written to each order that it takes.
    #[arg(long)]
    name: String,
    /// What a new database has on the shelf.
    #[arg(long, value_name = "ITEM=PIECES", value_delimiter = ',', value_parser = stock)]
    #[arg(default_values = ["teapot=1000", "umbrella=1000", "lantern=10"])]
    stock: Vec<(String, i32)>,
}

fn stock(text: &str) -> Result<(String, i32), String> {
    let wrong = || format!("`{text}` is not ITEM=PIECES, such as teapot=10");
    let (item, pieces) = text.split_once('=').ok_or_else(wrong)?;
    let pieces = pieces
        .parse()
        .ok()
        .filter(|pieces| *pieces >= 0)
        .ok_or_else(wrong)?;
    Ok((item.to_owned(), pieces))
}

#[tokio::main]
async fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let cli = Cli::parse();
    match (cli.command, cli.serve) {
        (Some(Command::MakeCa { dir, host, ip }), _) => tls::make_ca(&dir, &host, ip),
        (Some(Command::Serve(serve)), _) | (None, Some(serve)) => run(serve).await,
        (None, None) => unreachable!("clap prints the help without arguments"),
    }
}

async fn run(serve: Serve) -> Result<()> {
    let config = tls::server_config(&serve.cert_dir)?;
    let store = Arc::new(Store::new(&serve.database, &serve.name, &serve.stock)?);
    let listener = TcpListener::bind(serve.listen)
        .await
        .with_context(|| format!("cannot listen on {}", serve.listen))?;
    let listener = tls::listen(listener, config)?;
    log::info!(
        "{} listens on https://{}",
        serve.name,
        listener.local_addr()?
    );
    let service = Service {
        store,
        name: serve.name.into(),
    };
    let ended = until_told_to_end()?;
    tokio::select! {
        result = async { axum::serve(listener, api::router(service)).await } => result?,
        () = ended => {}
    }
    Ok(())
}
