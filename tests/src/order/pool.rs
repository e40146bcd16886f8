//! A few connections to PostgreSQL, made on demand and made again when they break.

use std::{str::FromStr, sync::Mutex, time::Duration};

use anyhow::{Context, Result};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, Config, NoTls};

/// Connections that one service opens at most.
const CONNECTIONS: usize = 8;

/// Connections to one database.
pub struct Pool {
    config: Config,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
}

impl Pool {
    /// A pool for a database described the libpq way, such as
    /// `host=172.16.1.31 user=orders dbname=orders`. Connects only when asked to.
    pub fn new(database: &str) -> Result<Self> {
        let mut config = Config::from_str(database).with_context(|| {
            format!(
                "`{database}` does not describe a database: write it like \
                 `host=172.16.1.31 user=orders dbname=orders`"
            )
        })?;
        // A database that is down must not hold an order for minutes.
        config.connect_timeout(Duration::from_secs(2));
        config.keepalives_idle(Duration::from_secs(5));
        Ok(Self {
            config,
            idle: Mutex::default(),
            permits: Semaphore::new(CONNECTIONS),
        })
    }

    /// A working connection, as far as can be known without using it.
    pub async fn get(&self) -> Result<Connection<'_>, tokio_postgres::Error> {
        let permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let idle = std::iter::from_fn(|| self.idle.lock().expect("no panic inside").pop())
            .find(|client| !client.is_closed());
        let client = match idle {
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(Connection {
            client: Some(client),
            pool: self,
            _permit: permit,
        })
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::warn!("lost a connection to the database: {error}");
            }
        });
        Ok(client)
    }
}

/// A connection on loan; it goes back to the pool when [`Connection::keep`] is called.
///
/// Dropping it closes it: an order that was cut off in the middle must not leave
/// its transaction to the next one.
pub struct Connection<'p> {
    client: Option<Client>,
    pool: &'p Pool,
    _permit: SemaphorePermit<'p>,
}

impl Connection<'_> {
    /// The connection itself.
    pub const fn client(&mut self) -> &mut Client {
        self.client
            .as_mut()
            .expect("present until the connection is handed back")
    }

    /// Hands the connection back for others to use.
    pub fn keep(mut self) {
        if let Some(client) = self.client.take() {
            self.pool.idle.lock().expect("no panic inside").push(client);
        }
    }
}
