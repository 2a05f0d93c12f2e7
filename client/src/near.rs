//! Reads from a member that is near: the primary says up to where the log has to be applied, and the member, which has applied it, gives the
//! rows. Two messages in place of one, of which the primary's is small; linearizable for each row.

use std::time::Duration;

use types::GroupId;
use types::map::ClusterMap;
use types::record::{Row, RowKey};
use types::state::{DeviceState, ProcessState};
use types::wire::Operation;
use types::wire::request::{ReadNear, ReadPoint};
use types::{DeviceId, NodeId, Seq};

use crate::inner::Inner;
use crate::kv::{Failure, primary};
use crate::retry::Attempts;

/// Whom a read of rows is asked of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary of their group: one message.
    #[default]
    Primary,
    /// A member of their group, after a word of the primary; the primary itself where no member can.
    Nearest,
}

/// How long a member may take: with the word of the primary it has what is asked, or says that it has not.
const MEMBER: Duration = Duration::from_millis(500);

impl Inner {
    /// Rows of one group from a member that is near, as they are now; `None` where none can serve them.
    pub(crate) async fn read_near(
        &self,
        map: &ClusterMap,
        group: GroupId,
        rows: &[RowKey],
        attempts: &Attempts,
    ) -> Option<Vec<Option<Row>>> {
        let (view, peer) = primary(map, group).ok()?;
        let message = ReadPoint { group, view };
        let point: Seq = self.ask(&peer, &[group], Operation::ReadPoint, &message, attempts).await.ok()?;
        let device = self.nearest(map, group)?;
        let (_, peer) = Self::peer_of(map, device)?;
        let message = ReadNear { group, device, point, rows: rows.to_vec() };
        match tokio::time::timeout(MEMBER, self.ask_once::<_, Vec<Option<Row>>>(&peer, Operation::ReadNear, &message, attempts)).await {
            Ok(Ok(found)) if found.len() == rows.len() => Some(found),
            Ok(Err(Failure::Refused(refusal))) => {
                tracing::debug!(%device, %refusal, "a member does not serve a read");
                None
            }
            // A slow read is no sign that anything is wrong with its node: the primary is asked next.
            _ => None,
        }
    }

    /// A member that may serve: one at the client's own node first, else any.
    fn nearest(&self, map: &ClusterMap, group: GroupId) -> Option<DeviceId> {
        let online = |device: &DeviceId| {
            let node = map.node_of(*device).filter(|node| node.state == ProcessState::Online && !self.suspects.is_suspected(node.id))?;
            let device = map.devices.get(device).filter(|found| found.state == DeviceState::Online)?;
            Some((device.id, node.id))
        };
        let members: Vec<(DeviceId, NodeId)> = map.view(group)?.members.iter().filter_map(online).collect();
        let here = members.iter().find(|(_, node)| self.options.near == Some(*node));
        here.or_else(|| members.get(rand::random_range(0..members.len().max(1)))).map(|(device, _)| *device)
    }
}
