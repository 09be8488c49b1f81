//! Starts child processes that the kernel kills when we die. To the kernel the parent is the *thread* that starts a child,
//! and a thread of an async runtime may end long before the process does: so one thread that lives as long as the process
//! starts all children. What a child is, and how it is watched and ended, is not known here.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

struct Order {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// Starts a command from the one thread that ends with the process and not before.
///
/// # Errors
/// As the system says, or where that thread cannot be started.
pub(crate) fn start(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Option<SyncSender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = sync_channel::<Order>(1);
        let serve = move || {
            while let Ok(mut order) = inbox.recv() {
                // Whoever ordered waits for the reply, so it cannot fail.
                let _ = order.reply.send(order.command.spawn());
            }
        };
        thread::Builder::new().name("process-starter".into()).spawn(serve).ok()?;
        Some(orders)
    });
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (reply, answer) = sync_channel(1);
    let order = Order { command, reply };
    starter.as_ref().and_then(|starter| starter.send(order).ok()).ok_or_else(gone)?;
    answer.recv().map_err(|_| gone())?
}
