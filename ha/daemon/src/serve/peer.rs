//! Messages from the other daemons.

use std::sync::Arc;

use ha_api::HaError;
use ha_api::pb::peer_server::Peer;
use ha_api::pb::{PeerCall, PeerFrame};
use ha_api::tls::{Role, permit};
use ha_state::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status};
use types::NodeId;
use types::codec::{decode, encode};

use crate::core::Core;
use crate::duties::Hello;
use crate::lead::Ask;
use crate::raft::AgreeError;

/// How long the leader may take over a command that was passed on to it, before scaling.
const AGREE: std::time::Duration = std::time::Duration::from_millis(1500);

/// The service between daemons.
#[derive(Debug)]
pub struct PeerService {
    core: Arc<Core>,
    fresh: bool,
}

impl PeerService {
    /// For that daemon; `fresh` where nothing was ever agreed in its store when it was opened.
    pub fn new(core: Arc<Core>, fresh: bool) -> Self {
        Self { core, fresh }
    }

    async fn serve(&self, call: PeerCall, body: &[u8]) -> Result<Vec<u8>, HaError> {
        let raft = self.core.group.raft();
        Ok(match call {
            PeerCall::Hello => encode(&Hello { fresh: self.fresh }),
            PeerCall::Append => {
                let answer = raft.append_entries(read(body)?).await;
                if answer.is_ok() {
                    self.core.hears_leader();
                }
                encode(&answer)
            }
            PeerCall::Vote => encode(&raft.vote(read(body)?).await),
            PeerCall::Snapshot => encode(&raft.install_snapshot(read(body)?).await),
            PeerCall::Propose => {
                // What is not a command must not get into the log: no daemon could apply it.
                let command = Command::decode(body).map_err(|e| HaError::Refused(e.to_string()))?;
                let agreed = self.core.lead.agree(command.change, AGREE.mul_f64(self.core.factor)).await;
                encode::<Result<_, AgreeError>>(&agreed)
            }
            PeerCall::Ask => answer(self.core.lead.ask(read::<Ask>(body)?).await),
            PeerCall::Late => answer(self.core.late(read(body)?).await),
            PeerCall::LeaderView => encode(&self.core.lead.view()),
            PeerCall::Unspecified => return Err(HaError::Refused("a message of a kind that is not known".into())),
        })
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, HaError> {
    decode(body).map_err(|e| HaError::Refused(e.to_string()))
}

fn answer<T: Serialize, E: Serialize>(result: Result<T, E>) -> Vec<u8> {
    encode(&result)
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn call(&self, request: Request<PeerFrame>) -> Result<Response<PeerFrame>, Status> {
        permit(request.extensions(), &[Role::Ha])?;
        let frame = request.into_inner();
        let from = match self.core.peers.admit(&frame) {
            Ok(from) => from,
            // What it asks for is not done; what the answer carries tells it why.
            Err(_) if self.core.peers.is_former(&frame) => {
                let from = NodeId(u16::try_from(frame.from).unwrap_or(0));
                return Ok(Response::new(self.core.peers.frame(from, frame.call(), Vec::new())));
            }
            Err(error) => return Err(error.into()),
        };
        let call = frame.call();
        let body = self.serve(call, &frame.body).await?;
        Ok(Response::new(self.core.peers.frame(from, call, body)))
    }
}
