//! `Execute`: a transaction for the primary of its group. The driver answers it, once it is STABLE.

use std::sync::Arc;

use net::Incoming;
use types::wire::request::{Execute, ExecuteReply, Refusal};

use super::{Gate, Node, admit, behind, decoded, refuse};
use crate::driver::{Caller, ClientRequest};

/// Queues the transaction, refuses it, or gives it back where this process is behind its sender.
pub fn try_now(node: &Node, incoming: Incoming) -> Result<(), Incoming> {
    let Some((execute, incoming)) = decoded::<Execute>(incoming) else { return Ok(()) };
    if matches!(node.gate(execute.group, execute.view), Gate::Behind) {
        return Err(incoming);
    }
    node.execute(execute, Box::new(incoming));
    Ok(())
}

impl Node {
    /// Queues a transaction for the driver of its group's primary, or refuses it.
    pub fn execute(&self, execute: Execute, caller: Box<dyn Caller>) {
        let refusal = match self.gate(execute.group, execute.view) {
            Gate::Behind => behind(execute.view.0),
            Gate::Refuse(refusal) => refusal,
            Gate::Pass(device) => match admit::admit(&execute, &self.views.now()) {
                Err(refusal) => refusal,
                Ok(()) => {
                    let inbox = &self.devices[&device].inbox;
                    if let Err(request) = inbox.offer_client(ClientRequest { execute, caller }) {
                        request.caller.answer(Err(Refusal::Busy("too many transactions wait for this device".into())));
                    }
                    return;
                }
            },
        };
        caller.answer(Err(refusal));
    }
}

/// The same after HA's log has been taken in up to the sender's view.
pub async fn after_catching_up(node: Arc<Node>, incoming: Incoming) {
    let Some((execute, incoming)) = decoded::<Execute>(incoming) else { return };
    node.catch_up(execute.view.0).await;
    if let Err(incoming) = try_now(&node, incoming) {
        refuse(incoming, behind(execute.view.0));
    }
}

impl Caller for Incoming {
    fn answer(self: Box<Self>, reply: ExecuteReply) {
        super::answer(*self, &reply);
    }

    fn is_over(&self) -> bool {
        super::is_over(self)
    }
}
