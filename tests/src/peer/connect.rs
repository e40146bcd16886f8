//! The asking side: many long-lived connections, each a numbered line every few
//! milliseconds, every answer checked. Lines go out on time whether or not the
//! earlier ones were answered, as a phone's keep-alives do.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};

/// How long a connection may take to be there, first answer included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the last answers are waited for in the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What to keep up.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// A peer's TCP or line address, or a VIP in front of some.
    pub server: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// Time between two lines on a connection.
    pub interval: Duration,
}

/// What became of it all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Connections that were kept.
    pub connections: usize,
    /// Connections that broke: reset, closed, timed out.
    pub broken: usize,
    /// Lines sent.
    pub sent: u64,
    /// Right answers.
    pub answers: u64,
    /// Lines without an answer in the end, on whatever connection.
    pub unanswered: u64,
    /// Answers that were not the one expected: twice, out of order, another server's.
    pub wrong: u64,
    /// What went wrong, in words, each once (at most ten).
    pub problems: Vec<String>,
    /// Longest time without an answer, of the worst connection, in milliseconds.
    pub longest_silence_ms: f64,
    /// The same of the median connection.
    pub median_silence_ms: f64,
    /// Longest time from a line to its answer, in milliseconds.
    pub slowest_answer_ms: f64,
    /// Connections by the server that answered them.
    pub servers: BTreeMap<String, usize>,
}

impl Report {
    /// Whether nothing broke, nothing is missing and every answer was right.
    pub const fn is_clean(&self) -> bool {
        self.broken == 0 && self.unanswered == 0 && self.wrong == 0
    }

    fn of(results: Vec<Connection>) -> Self {
        let mut report = Self {
            connections: results.len(),
            ..Self::default()
        };
        let mut silences: Vec<_> = results.iter().map(|c| milliseconds(c.silence)).collect();
        silences.sort_by(f64::total_cmp);
        report.longest_silence_ms = silences.last().copied().unwrap_or_default();
        report.median_silence_ms = silences
            .get(silences.len() / 2)
            .copied()
            .unwrap_or_default();
        let mut problems = BTreeSet::new();
        for connection in results {
            report.broken += usize::from(connection.broken);
            report.sent += connection.sent;
            report.answers += connection.answers;
            report.unanswered += connection.unanswered.len() as u64;
            report.wrong += connection.wrong;
            report.slowest_answer_ms = report
                .slowest_answer_ms
                .max(milliseconds(connection.slowest));
            *report.servers.entry(connection.server).or_default() += 1;
            problems.extend(connection.problem);
        }
        report.problems = problems.into_iter().take(10).collect();
        report
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} connections, {} broken",
            self.connections, self.broken
        )?;
        writeln!(
            f,
            "{} lines, {} answered, {} without an answer, {} wrong answers",
            self.sent, self.answers, self.unanswered, self.wrong
        )?;
        writeln!(
            f,
            "longest time without an answer: {:.0} ms (median connection {:.0} ms), slowest answer {:.0} ms",
            self.longest_silence_ms, self.median_silence_ms, self.slowest_answer_ms
        )?;
        for (server, connections) in &self.servers {
            writeln!(f, "{server}: {connections} connections")?;
        }
        for problem in &self.problems {
            writeln!(f, "! {problem}")?;
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are as fine as it makes sense in a report.
    duration.as_micros() as f64 / 1000.0
}

/// Connections that are all there: each has had its first answer.
pub struct Running {
    tasks: JoinSet<Connection>,
    end: watch::Sender<bool>,
}

impl Running {
    /// Connects as planned. Fails if one connection cannot be had.
    pub async fn start(plan: Plan) -> Result<Self> {
        let mut opening = JoinSet::new();
        for number in 0..plan.connections {
            opening.spawn(async move {
                match time::timeout(CONNECT, Connection::open(number, plan.server)).await {
                    Ok(opened) => opened,
                    Err(_) => bail!("no answer within {CONNECT:?}"),
                }
            });
        }
        let (end, ended) = watch::channel(false);
        let mut opened = Vec::new();
        while let Some(connection) = opening.join_next().await {
            opened.push(connection?.with_context(|| format!("cannot talk to {}", plan.server))?);
        }
        let mut tasks = JoinSet::new();
        for connection in opened {
            tasks.spawn(connection.keep(plan, ended.clone()));
        }
        Ok(Self { tasks, end })
    }

    /// Sends no more, waits for the last answers and reports.
    pub async fn end(self) -> Report {
        let _ = self.end.send(true);
        Report::of(self.tasks.join_all().await)
    }
}

/// What happens to a connection.
enum Event {
    Line(std::io::Result<Option<String>>),
    Tick,
    End,
}

struct Connection {
    number: usize,
    write: OwnedWriteHalf,
    read: Option<Lines<BufReader<OwnedReadHalf>>>,
    server: String,
    sent: u64,
    answers: u64,
    wrong: u64,
    /// When each line went out that has no answer yet.
    unanswered: VecDeque<(u64, Instant)>,
    last_answer: Instant,
    silence: Duration,
    slowest: Duration,
    broken: bool,
    problem: Option<String>,
}

impl Connection {
    async fn open(number: usize, server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read).lines();
        let mut connection = Self {
            number,
            write,
            read: None,
            server: String::new(),
            sent: 0,
            answers: 0,
            wrong: 0,
            unanswered: VecDeque::new(),
            last_answer: Instant::now(),
            silence: Duration::ZERO,
            slowest: Duration::ZERO,
            broken: false,
            problem: None,
        };
        connection.send().await?;
        let answer = read
            .next_line()
            .await?
            .context("the server closed the connection")?;
        let (name, _) = answer.split_once(' ').with_context(|| {
            format!("`{answer}` is not a peer's answer: is there another service on this port?")
        })?;
        connection.server = name.to_owned();
        connection.answered(&answer);
        anyhow::ensure!(
            connection.wrong == 0,
            "`{answer}` is not the answer to the first line"
        );
        connection.read = Some(read);
        Ok(connection)
    }

    async fn keep(mut self, plan: Plan, mut ended: watch::Receiver<bool>) -> Self {
        let mut read = self.read.take().expect("open leaves the reading half");
        // Spread over the interval, so that the load is even.
        let offset = plan
            .interval
            .mul_f64(self.number as f64 / plan.connections as f64);
        let mut ticks = time::interval_at(Instant::now() + offset, plan.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut deadline = None;
        while deadline.is_none() || !self.unanswered.is_empty() {
            let over = async {
                match deadline {
                    Some(deadline) => time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                line = read.next_line() => Event::Line(line),
                _ = ticks.tick(), if deadline.is_none() => Event::Tick,
                _ = ended.changed(), if deadline.is_none() => Event::End,
                () = over => break,
            };
            let result = match event {
                Event::Line(Ok(Some(answer))) => {
                    self.answered(&answer);
                    Ok(())
                }
                Event::Line(Ok(None)) => Err("closed by the server".to_owned()),
                Event::Line(Err(error)) => Err(error.to_string()),
                Event::Tick => self.send().await.map_err(|error| error.to_string()),
                Event::End => {
                    deadline = Some(Instant::now() + LAST_ANSWERS);
                    Ok(())
                }
            };
            if let Err(problem) = result {
                self.broken = true;
                self.problem = Some(problem);
                break;
            }
        }
        if !self.unanswered.is_empty() {
            self.silence = self.silence.max(self.last_answer.elapsed());
        }
        self
    }

    async fn send(&mut self) -> std::io::Result<()> {
        self.sent += 1;
        self.unanswered.push_back((self.sent, Instant::now()));
        self.write
            .write_all(format!("{} {}\n", self.number, self.sent).as_bytes())
            .await
    }

    fn answered(&mut self, answer: &str) {
        let now = Instant::now();
        let expected = self.unanswered.front().copied();
        if let Some((line, sent)) = expected
            && answer == format!("{} {} {line}", self.server, self.number)
        {
            self.unanswered.pop_front();
            self.answers += 1;
            self.slowest = self.slowest.max(now - sent);
            self.silence = self.silence.max(now - self.last_answer);
            self.last_answer = now;
        } else {
            self.wrong += 1;
            let line = expected.map_or("nothing".to_owned(), |(line, _)| {
                format!("`{} {} {line}`", self.server, self.number)
            });
            self.problem
                .get_or_insert(format!("`{answer}` came, {line} was expected"));
        }
    }
}
