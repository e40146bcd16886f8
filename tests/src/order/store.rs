//! The books: orders and stock in PostgreSQL.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, time};
use tokio_postgres::{Client, GenericClient, Row, Transaction, error::SqlState, types::ToSql};

use super::pool::{Connection, Pool};

/// How long an order waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(200);
/// How often an order tries again when others were faster to change the stock.
const ATTEMPTS: u32 = 100;
/// Advisory lock under which the tables are made: any number that nobody else takes.
const SCHEMA_LOCK: i64 = 0x6c69_6e67_7975_6e01;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS stock (
        item      text PRIMARY KEY,
        quantity  integer NOT NULL CHECK (quantity >= 0),
        version   bigint NOT NULL DEFAULT 0
    );
    CREATE TABLE IF NOT EXISTS orders (
        id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        idempotency_key  text NOT NULL UNIQUE,
        item             text NOT NULL REFERENCES stock,
        quantity         integer NOT NULL CHECK (quantity > 0),
        customer         text NOT NULL,
        taken_by         text NOT NULL,
        taken_at         timestamptz NOT NULL DEFAULT now()
    );";

const COLUMNS: &str = "id, idempotency_key, item, quantity, customer, taken_by, \
     to_char(taken_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS taken_at";

/// What a customer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What.
    pub item: String,
    /// How many.
    pub quantity: i32,
    /// For whom.
    pub customer: String,
}

/// An order that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Number of the order.
    pub id: i64,
    /// The key that the customer's device made up for it.
    pub idempotency_key: String,
    /// What.
    pub item: String,
    /// How many.
    pub quantity: i32,
    /// For whom.
    pub customer: String,
    /// Which service took it.
    pub taken_by: String,
    /// When, UTC.
    pub taken_at: String,
}

impl Order {
    fn from_row(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            idempotency_key: row.get("idempotency_key"),
            item: row.get("item"),
            quantity: row.get("quantity"),
            customer: row.get("customer"),
            taken_by: row.get("taken_by"),
            taken_at: row.get("taken_at"),
        }
    }

    fn answers(&self, request: &Request) -> bool {
        (&self.item, self.quantity, &self.customer)
            == (&request.item, request.quantity, &request.customer)
    }
}

/// What is left of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Item.
    pub item: String,
    /// Pieces left.
    pub quantity: i32,
    /// Counts the changes.
    pub version: i64,
}

/// How an attempt to order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken now.
    Taken(Order),
    /// The same order had been taken before under this key.
    Known(Order),
    /// Another order had been taken before under this key.
    KeyReused(Order),
    /// Not enough left.
    SoldOut(Stock),
    /// The shop does not sell this.
    UnknownItem,
    /// Others changed the stock every time; worth another try later.
    Contended,
}

/// The books of one service.
pub struct Store {
    pool: Pool,
    name: String,
    initial: Vec<(String, i32)>,
    schema: OnceCell<()>,
}

impl Store {
    /// Books kept in `database` (see [`Pool::new`]) by the service `name`. Items of
    /// `initial` that the database does not know yet are put on the shelf.
    pub fn new(database: &str, name: &str, initial: &[(String, i32)]) -> Result<Self> {
        Ok(Self {
            pool: Pool::new(database)?,
            name: name.to_owned(),
            initial: initial.to_vec(),
            schema: OnceCell::new(),
        })
    }

    /// Takes an order, in one transaction. Safe to repeat with the same `key`.
    pub async fn order(&self, key: &str, request: &Request) -> Result<Outcome> {
        self.patiently(|mut connection| async move {
            let transaction = connection.client().transaction().await?;
            let outcome = self.take(&transaction, key, request).await?;
            match outcome {
                Outcome::Taken(_) => transaction.commit().await?,
                _ => transaction.rollback().await?,
            }
            connection.keep();
            Ok(outcome)
        })
        .await
    }

    /// The order with this number.
    pub async fn find(&self, id: i64) -> Result<Option<Order>> {
        self.patiently(|mut connection| async move {
            let query = format!("SELECT {COLUMNS} FROM orders WHERE id = $1");
            let row = connection.client().query_opt(&query, &[&id]).await?;
            connection.keep();
            Ok(row.as_ref().map(Order::from_row))
        })
        .await
    }

    /// What is left of an item.
    pub async fn stock(&self, item: &str) -> Result<Option<Stock>> {
        self.patiently(|mut connection| async move {
            let stock = read_stock(connection.client(), item).await?;
            connection.keep();
            Ok(stock)
        })
        .await
    }

    /// Fails unless the database answers right now.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.connection().await?;
        connection.client().simple_query("SELECT 1").await?;
        connection.keep();
        Ok(())
    }

    /// The order under `key`, taken now or before.
    ///
    /// The row is inserted first: its unique key makes a second transaction with the
    /// same key wait for the first, and then see what it did.
    async fn take(
        &self,
        transaction: &Transaction<'_>,
        key: &str,
        request: &Request,
    ) -> Result<Outcome, tokio_postgres::Error> {
        if let Some(known) = known(transaction, key, request).await? {
            return Ok(known);
        }
        if read_stock(transaction, &request.item).await?.is_none() {
            return Ok(Outcome::UnknownItem);
        }
        let insert = format!(
            "INSERT INTO orders (idempotency_key, item, quantity, customer, taken_by)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (idempotency_key) DO NOTHING RETURNING {COLUMNS}"
        );
        let values: [&(dyn ToSql + Sync); 5] = [
            &key,
            &request.item,
            &request.quantity,
            &request.customer,
            &self.name,
        ];
        let Some(row) = transaction.query_opt(&insert, &values).await? else {
            // Somebody else's order came between; it is committed by now.
            return Ok(known(transaction, key, request)
                .await?
                .unwrap_or(Outcome::Contended));
        };
        for _ in 0..ATTEMPTS {
            let Some(stock) = read_stock(transaction, &request.item).await? else {
                return Ok(Outcome::UnknownItem);
            };
            if stock.quantity < request.quantity {
                return Ok(Outcome::SoldOut(stock));
            }
            // Nothing is locked between reading and writing: the version tells whether
            // somebody else was faster.
            let update = "UPDATE stock SET quantity = quantity - $3, version = version + 1
                 WHERE item = $1 AND version = $2 AND quantity >= $3";
            let changed = transaction
                .execute(update, &[&request.item, &stock.version, &request.quantity])
                .await?;
            if changed == 1 {
                return Ok(Outcome::Taken(Order::from_row(&row)));
            }
        }
        Ok(Outcome::Contended)
    }

    /// Runs `work`, again and again while the database is away. Whatever `work` does,
    /// it must be safe to do twice: a connection may break after the commit.
    async fn patiently<'s, T, W>(&'s self, work: impl Fn(Connection<'s>) -> W) -> Result<T>
    where
        W: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        let deadline = time::Instant::now() + PATIENCE;
        loop {
            let attempt = async { work(self.connection().await?).await };
            let failure = match time::timeout_at(deadline, attempt).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) if is_away(&error) => error.into(),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => anyhow::anyhow!("it does not answer"),
            };
            if time::Instant::now() + PAUSE >= deadline {
                return Err(failure.context("the database is away"));
            }
            time::sleep(PAUSE).await;
        }
    }

    /// A connection to a database that has its tables.
    async fn connection(&self) -> Result<Connection<'_>, tokio_postgres::Error> {
        let mut connection = self.pool.get().await?;
        self.schema
            .get_or_try_init(|| self.create_tables(connection.client()))
            .await?;
        Ok(connection)
    }

    /// Makes the tables and fills the shelf, unless another service was first.
    async fn create_tables(&self, client: &mut Client) -> Result<(), tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        // "IF NOT EXISTS" alone fails when two services create at the same moment.
        transaction
            .execute("SELECT pg_advisory_xact_lock($1)", &[&SCHEMA_LOCK])
            .await?;
        transaction.batch_execute(SCHEMA).await?;
        for (item, quantity) in &self.initial {
            let insert =
                "INSERT INTO stock (item, quantity) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            transaction.execute(insert, &[item, quantity]).await?;
        }
        transaction.commit().await
    }
}

/// What the order that is already there under `key` means for `request`.
async fn known(
    transaction: &Transaction<'_>,
    key: &str,
    request: &Request,
) -> Result<Option<Outcome>, tokio_postgres::Error> {
    let query = format!("SELECT {COLUMNS} FROM orders WHERE idempotency_key = $1");
    let row = transaction.query_opt(&query, &[&key]).await?;
    Ok(row
        .as_ref()
        .map(Order::from_row)
        .map(|order| match order.answers(request) {
            true => Outcome::Known(order),
            false => Outcome::KeyReused(order),
        }))
}

async fn read_stock(
    client: &impl GenericClient,
    item: &str,
) -> Result<Option<Stock>, tokio_postgres::Error> {
    let query = "SELECT item, quantity, version FROM stock WHERE item = $1";
    Ok(client
        .query_opt(query, &[&item])
        .await?
        .as_ref()
        .map(stock_from_row))
}

fn stock_from_row(row: &Row) -> Stock {
    Stock {
        item: row.get("item"),
        quantity: row.get("quantity"),
        version: row.get("version"),
    }
}

/// Whether the error speaks of the connection or of a database that comes or goes,
/// and not of what was asked.
fn is_away(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(state) => [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::INVALID_CATALOG_NAME,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        ]
        .contains(state),
        None => true,
    }
}
