//! A TCP link that can be made bad: cut, slow, held, half-open, or sprung by what passes through it. One stands between
//! each service and each server, so that one service can lose one server while everybody else goes on. It understands
//! nothing of what it carries.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::failure::Failure;

/// Bytes that are passed on at once.
const CHUNK: usize = 32 * 1024;

/// What happens to bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They pass.
    Clear,
    /// They pass after this time.
    Slow(Duration),
    /// They wait, and pass when the way is clear again, even if their sender is gone by then.
    Held,
    /// They are lost, and the connection with them: whoever sent them is never told.
    Lost,
}

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weather {
    /// To the server.
    pub(crate) up: Way,
    /// From the server.
    pub(crate) down: Way,
    /// New connections are taken.
    pub(crate) open: bool,
}

impl Weather {
    /// Everything passes.
    pub(crate) const FINE: Self = Self { up: Way::Clear, down: Way::Clear, open: true };

    /// Both directions alike.
    pub(crate) fn both(way: Way) -> Self {
        Self { up: way, down: way, open: true }
    }
}

/// What the first bytes do that hold a word, on their way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spring {
    /// The connection breaks, and the server never gets them.
    Swallow,
    /// The server gets them, and the connection breaks before its answer arrives.
    LoseAnswer,
    /// They wait for this time, and then the server gets them.
    Hold(Duration),
}

#[derive(Debug, Clone)]
struct Trap {
    word: Vec<u8>,
    spring: Spring,
    /// It is gone when it was sprung.
    once: bool,
}

#[derive(Debug)]
struct State {
    upstream: Mutex<String>,
    trap: Mutex<Option<Trap>>,
    sprung: AtomicUsize,
}

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    state: Arc<State>,
    weather: watch::Sender<Weather>,
    /// Raised to break every connection that there is.
    breaks: watch::Sender<u64>,
    /// Raised to forget every connection that there is.
    forgets: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Listens on a port of its own; where it leads is told later.
    ///
    /// # Errors
    /// `System` where no port can be taken.
    pub(crate) async fn listen() -> Result<Self, Failure> {
        let taking = || Failure::while_doing("taking a port for a link");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(taking())?;
        let address = listener.local_addr().map_err(taking())?;
        let state = Arc::new(State {
            upstream: Mutex::new(String::new()),
            trap: Mutex::new(None),
            sprung: AtomicUsize::new(0),
        });
        let (weather, breaks) = (watch::Sender::new(Weather::FINE), watch::Sender::new(0));
        let forgets = watch::Sender::new(0);
        let channels = (weather.clone(), breaks.clone(), forgets.clone());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state), channels));
        Ok(Self { address, state, weather, breaks, forgets, accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections lead to this server from now on.
    pub(crate) fn lead_to(&self, server: &str) {
        server.clone_into(&mut lock(&self.state.upstream));
    }

    /// From now on it is like this, for connections that there are as well.
    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Breaks every connection, and takes none until the weather is fine.
    pub(crate) fn cut(&self) {
        self.set(Weather { open: false, ..Weather::FINE });
        self.break_all();
    }

    /// Breaks every connection that there is.
    pub(crate) fn break_all(&self) {
        self.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// Every connection that there is leads nowhere from now on, as when a firewall has forgotten it: it stays open, and
    /// nobody is told. New ones work.
    pub(crate) fn forget_all(&self) {
        self.forgets.send_modify(|forgets| *forgets += 1);
    }

    /// Sets a trap for the next bytes that hold the word.
    pub(crate) fn trap(&self, word: &str, spring: Spring) {
        self.set_trap(word, spring, true);
    }

    /// Sets a trap for all bytes that hold the word, until it is disarmed.
    pub(crate) fn trap_all(&self, word: &str, spring: Spring) {
        self.set_trap(word, spring, false);
    }

    fn set_trap(&self, word: &str, spring: Spring, once: bool) {
        *lock(&self.state.trap) = Some(Trap { word: word.as_bytes().to_vec(), spring, once });
    }

    /// Takes a trap away; whether it was there still.
    pub(crate) fn disarm(&self) -> bool {
        lock(&self.state.trap).take().is_some()
    }

    /// How many traps were sprung.
    pub(crate) fn sprung(&self) -> usize {
        self.state.sprung.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.break_all();
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    (weather, breaks, forgets): (watch::Sender<Weather>, watch::Sender<u64>, watch::Sender<u64>),
) {
    loop {
        // Where no connection can be taken, the next try may do.
        let Ok((client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        if !weather.borrow().open {
            continue;
        }
        let upstream = lock(&state.upstream).clone();
        let state = Arc::clone(&state);
        let (weather, breaks) = (weather.subscribe(), breaks.subscribe());
        let forgets = forgets.subscribe();
        tokio::spawn(async move {
            // A server that is away is what its client is to notice.
            if let Ok(server) = TcpStream::connect(&upstream).await {
                carry((client, server), &state, weather, breaks, forgets).await;
            }
        });
    }
}

/// What the two directions of a connection share.
struct Connection {
    broken: watch::Sender<bool>,
    /// The answer that comes next is lost, and the connection with it.
    deaf: watch::Sender<bool>,
}

async fn carry(
    (client, server): (TcpStream, TcpStream),
    state: &State,
    weather: watch::Receiver<Weather>,
    mut breaks: watch::Receiver<u64>,
    mut forgets: watch::Receiver<u64>,
) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let shared = Connection { broken: watch::Sender::new(false), deaf: watch::Sender::new(false) };
    breaks.mark_unchanged();
    forgets.mark_unchanged();
    let (up_weather, up_forgets) = (weather.clone(), forgets.clone());
    let up =
        Direction { is_up: true, state, shared: &shared, weather: up_weather, forgets: up_forgets };
    let down = Direction { is_up: false, state, shared: &shared, weather, forgets };
    let mut broken = shared.broken.subscribe();
    tokio::select! {
        _ = breaks.changed() => {}
        _ = broken.wait_for(|broken| *broken) => {}
        _ = async { tokio::join!(up.run(from_client, to_server), down.run(from_server, to_client)) } => {}
    }
}

struct Direction<'a> {
    is_up: bool,
    state: &'a State,
    shared: &'a Connection,
    weather: watch::Receiver<Weather>,
    forgets: watch::Receiver<u64>,
}

impl Direction<'_> {
    /// Passes bytes on until one side ends.
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut chunk = vec![0; CHUNK];
        let mut lost = false;
        loop {
            let read = tokio::select! {
                read = from.read(&mut chunk) => read.unwrap_or_default(),
                () = self.breaks_up(lost) => break,
            };
            let bytes = chunk.get(..read).unwrap_or_default();
            if self.is_forgotten() {
                // The server's end is not told either; the client's own is the connection's.
                match (bytes.is_empty(), self.is_up) {
                    (false, _) => continue,
                    (true, true) => drop(self.shared.broken.send_replace(true)),
                    (true, false) => std::future::pending().await,
                }
            }
            if bytes.is_empty() || !self.pass(bytes, &mut lost, &mut to).await {
                break;
            }
        }
        let _ = to.shutdown().await;
    }

    fn is_forgotten(&self) -> bool {
        self.forgets.has_changed().unwrap_or_default()
    }

    /// Whether the direction goes on.
    async fn pass(&mut self, bytes: &[u8], lost: &mut bool, to: &mut OwnedWriteHalf) -> bool {
        if !self.is_up && *self.shared.deaf.borrow() {
            self.shared.broken.send_replace(true);
            return false;
        }
        if self.is_up {
            match self.sprung(bytes) {
                Some(Spring::Swallow) => {
                    self.shared.broken.send_replace(true);
                    return false;
                }
                Some(Spring::LoseAnswer) => drop(self.shared.deaf.send_replace(true)),
                Some(Spring::Hold(time)) => sleep(time).await,
                None => {}
            }
        }
        let begun = Instant::now();
        loop {
            let way = self.way();
            match way {
                Way::Clear if *lost => return false,
                Way::Clear => break,
                Way::Slow(time) => {
                    sleep_until(begun + time).await;
                    break;
                }
                Way::Held => {
                    if self.weather.changed().await.is_err() {
                        return false;
                    }
                }
                Way::Lost => {
                    *lost = true;
                    return true;
                }
            }
        }
        to.write_all(bytes).await.is_ok()
    }

    fn way(&mut self) -> Way {
        let weather = *self.weather.borrow_and_update();
        if self.is_up { weather.up } else { weather.down }
    }

    /// What these bytes spring.
    fn sprung(&self, bytes: &[u8]) -> Option<Spring> {
        let mut trap = lock(&self.state.trap);
        let has_word =
            |trap: &Trap| bytes.windows(trap.word.len().max(1)).any(|part| part == trap.word);
        let Trap { spring, once, .. } = trap.as_ref().filter(|trap| has_word(trap))?.clone();
        if once {
            *trap = None;
        }
        self.state.sprung.fetch_add(1, Ordering::SeqCst);
        Some(spring)
    }

    /// A connection that has lost bytes breaks when the weather clears.
    async fn breaks_up(&self, lost: bool) {
        if !lost {
            return std::future::pending().await;
        }
        let mut weather = self.weather.clone();
        let up = self.is_up;
        let is_over = |weather: &Weather| (if up { weather.up } else { weather.down }) != Way::Lost;
        if weather.wait_for(is_over).await.is_ok() {
            self.shared.broken.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::{Link, Spring, Way, Weather};

    /// A server that answers each message with itself, and tells what it got.
    async fn echo() -> (String, mpsc::Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, told) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut bytes = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        tell.send(bytes[..read].to_vec()).await.unwrap();
                        if stream.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, told)
    }

    async fn link() -> (Link, mpsc::Receiver<Vec<u8>>) {
        let (address, told) = echo().await;
        let link = Link::listen().await.unwrap();
        link.lead_to(&address);
        (link, told)
    }

    async fn say(stream: &mut TcpStream, word: &str) -> Option<String> {
        stream.write_all(word.as_bytes()).await.ok()?;
        let mut bytes = [0; 64];
        let read = stream.read(&mut bytes).await.ok()?;
        (read > 0).then(|| String::from_utf8_lossy(&bytes[..read]).into_owned())
    }

    #[tokio::test]
    async fn bytes_pass_and_a_cut_breaks_what_there_is_and_refuses_what_comes() {
        let (link, _told) = link().await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, "one").await.as_deref(), Some("one"));
        link.cut();
        assert_eq!(say(&mut stream, "two").await, None);
        let mut refused = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut refused, "three").await, None);
        link.set(Weather::FINE);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, "four").await.as_deref(), Some("four"));
    }

    #[tokio::test]
    async fn what_was_held_arrives_although_its_sender_is_gone() {
        let (link, mut told) = link().await;
        link.set(Weather { up: Way::Held, ..Weather::FINE });
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        stream.write_all(b"late").await.unwrap();
        drop(stream);
        assert!(tokio::time::timeout(Duration::from_millis(50), told.recv()).await.is_err());
        link.set(Weather::FINE);
        assert_eq!(told.recv().await.unwrap(), b"late");
    }

    #[tokio::test]
    async fn a_half_open_connection_never_answers_and_breaks_when_it_is_over() {
        let (link, mut told) = link().await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, "one").await.as_deref(), Some("one"));
        assert_eq!(told.recv().await.unwrap(), b"one");
        link.set(Weather::both(Way::Lost));
        let lost = tokio::time::timeout(Duration::from_millis(50), say(&mut stream, "two")).await;
        assert!(lost.is_err(), "{lost:?}");
        link.set(Weather::FINE);
        assert_eq!(say(&mut stream, "three").await, None);
        assert!(told.try_recv().is_err(), "what was lost has arrived");
    }

    #[tokio::test]
    async fn a_forgotten_connection_stays_open_and_leads_nowhere() {
        let (link, mut told) = link().await;
        let mut old = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut old, "one").await.as_deref(), Some("one"));
        assert_eq!(told.recv().await.unwrap(), b"one");
        link.forget_all();
        let lost = tokio::time::timeout(Duration::from_millis(50), say(&mut old, "two")).await;
        assert!(lost.is_err(), "{lost:?}");
        let mut new = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut new, "three").await.as_deref(), Some("three"));
        assert_eq!(told.recv().await.unwrap(), b"three");
    }

    #[tokio::test]
    async fn a_trap_springs_once_and_for_its_word_alone() {
        let (link, mut told) = link().await;
        link.trap("COMMIT", Spring::LoseAnswer);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, "BEGIN").await.as_deref(), Some("BEGIN"));
        assert_eq!(say(&mut stream, "a COMMIT").await, None);
        assert_eq!(told.recv().await.unwrap(), b"BEGIN");
        assert_eq!(told.recv().await.unwrap(), b"a COMMIT");
        link.trap("COMMIT", Spring::Swallow);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, "COMMIT").await, None);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream, "COMMIT").await.as_deref(), Some("COMMIT"));
        assert_eq!(told.recv().await.unwrap(), b"COMMIT");
        assert!(told.try_recv().is_err(), "what was swallowed has arrived");
        assert_eq!(link.sprung(), 2);
        assert!(!link.disarm());
        link.trap_all("PAY", Spring::LoseAnswer);
        for _ in 0..2 {
            let mut stream = TcpStream::connect(link.address()).await.unwrap();
            assert_eq!(say(&mut stream, "PAY").await, None);
        }
        assert!(link.disarm());
    }
}
