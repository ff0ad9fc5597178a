//! Devices, addresses and routes, by netlink in the namespace of the calling thread.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::ipam::{Cidr, mac};
use super::shape;

/// Our ends of the pairs on the host.
pub(super) const HOST_DEVICE_PREFIX: &str = "veth";
pub(super) const POD_DEVICE: &str = "eth0";

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot open a netlink socket")]
    Socket { source: io::Error },
    #[error("this kernel has no bridge devices; load the module `bridge`")]
    NoBridge { source: io::Error },
    #[error("a device `{device}` is there already and is no bridge")]
    NotABridge { device: String },
    #[error("cannot {action} device `{device}`")]
    Request { action: &'static str, device: String, source: io::Error },
    #[error("device `{device}` does not exist")]
    NoDevice { device: String },
    #[error("this kernel bounds no device's bandwidth; load the module `sch_tbf`")]
    NoShaping { source: io::Error },
}

/// A pair to make: one end at the bridge, the other in a namespace.
pub(super) struct Pair<'a> {
    pub(super) bridge: &'a str,
    pub(super) host: &'a str,
    pub(super) mac: [u8; 6],
    pub(super) netns: &'a File,
}

/// A netlink connection.
pub(super) struct Links {
    handle: Handle,
}

/// Makes an error of what the kernel answered, with its number where there is one.
fn failed(action: &'static str, device: &str) -> impl Fn(rtnetlink::Error) -> LinkError {
    let device = device.to_owned();
    move |error| LinkError::Request { action, device: device.clone(), source: as_io(error) }
}

fn as_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

fn is(error: &rtnetlink::Error, errno: rustix::io::Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno.raw_os_error())
}

/// Both numbers mean that the device is not there.
fn is_absent(error: &rtnetlink::Error) -> bool {
    is(error, rustix::io::Errno::NODEV) || is(error, rustix::io::Errno::NOENT)
}

impl Links {
    pub(super) fn open() -> Result<Self, LinkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| LinkError::Socket { source })?;
        // Ends with the last handle.
        drop(kit::task::spawn("netlink", connection));
        Ok(Self { handle })
    }

    /// The bridge with its address, up.
    pub(super) async fn ensure_bridge(&self, bridge: &str, cidr: &Cidr) -> Result<(), LinkError> {
        let index = match self.find(bridge).await? {
            Some(link) if is_bridge(&link) => link.header.index,
            Some(_) => return Err(LinkError::NotABridge { device: bridge.to_owned() }),
            None => self.create_bridge(bridge, cidr).await?,
        };
        self.address(index, bridge, cidr.gateway(), cidr).await?;
        self.up(bridge).await
    }

    async fn create_bridge(&self, bridge: &str, cidr: &Cidr) -> Result<u32, LinkError> {
        // With an address of its own the bridge does not change it with each port that comes and goes.
        let message = LinkBridge::new(bridge).address(mac(cidr.gateway()).to_vec()).build();
        match self.handle.link().add(message).execute().await {
            Err(error) if is(&error, rustix::io::Errno::OPNOTSUPP) => {
                return Err(LinkError::NoBridge { source: as_io(error) });
            }
            created => created.map_err(failed("create", bridge))?,
        }
        self.index(bridge).await
    }

    /// An address of the host inside `cidr`, on another device than `own`.
    pub(super) async fn overlap(
        &self,
        own: &str,
        cidr: &Cidr,
    ) -> Result<Option<(String, Ipv4Addr)>, LinkError> {
        let own_index = self.find(own).await?.map(|link| link.header.index);
        let read = failed("read the addresses of", "any");
        let addresses: Vec<_> = self.handle.address().get().execute().try_collect().await.map_err(read)?;
        for message in addresses.iter().filter(|message| Some(message.header.index) != own_index) {
            for attribute in &message.attributes {
                if let AddressAttribute::Address(IpAddr::V4(ip)) = attribute
                    && cidr.contains(*ip)
                {
                    return Ok(Some((format!("number {}", message.header.index), *ip)));
                }
            }
        }
        Ok(None)
    }

    /// Makes the pair in one request: host end up and at the bridge, other end in its namespace. A leftover of the
    /// same name goes first.
    pub(super) async fn create_pair(&self, pair: &Pair<'_>) -> Result<(), LinkError> {
        self.delete(pair.host).await?;
        let bridge = self.index(pair.bridge).await?;
        let inside = LinkMessageBuilder::<LinkUnspec>::new()
            .name(POD_DEVICE)
            .address(pair.mac.to_vec())
            .setns_by_fd(pair.netns.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(pair.host)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
            .controller(bridge)
            .up()
            .build();
        self.handle.link().add(message).execute().await.map_err(failed("create", pair.host))?;
        // Where the bridge itself filters (br_netfilter), a pod's packet to its own host port turns round in the bridge.
        let port = LinkBridgePort::new(self.index(pair.host).await?).hairpin(true).build();
        self.handle.link().set_port(port).execute().await.map_err(failed("configure", pair.host))
    }

    /// Whether the device of this namespace is there and meant for `ip`.
    pub(super) async fn has_pod_device(&self, ip: Ipv4Addr) -> Result<bool, LinkError> {
        let Some(link) = self.find(POD_DEVICE).await? else { return Ok(false) };
        let own = mac(ip).to_vec();
        if link.attributes.contains(&LinkAttribute::Address(own)) {
            return Ok(true);
        }
        // Of an earlier life with another address.
        self.delete(POD_DEVICE).await?;
        Ok(false)
    }

    /// Address, default route and loopback inside a sandbox.
    pub(super) async fn configure_pod(&self, ip: Ipv4Addr, cidr: &Cidr) -> Result<(), LinkError> {
        self.up("lo").await?;
        let index = self.index(POD_DEVICE).await?;
        self.address(index, POD_DEVICE, ip, cidr).await?;
        self.up(POD_DEVICE).await?;
        let route =
            RouteMessageBuilder::<Ipv4Addr>::new().gateway(cidr.gateway()).output_interface(index).build();
        let added = self.handle.route().add(route).replace().execute().await;
        added.map_err(failed("route through", POD_DEVICE))
    }

    /// Lets no more than that out of `device`, whatever was set before.
    pub(super) async fn shape(&self, device: &str, bytes_per_second: u64) -> Result<(), LinkError> {
        let index = i32::try_from(self.index(device).await?).unwrap_or(i32::MAX);
        let options = shape::token_bucket(bytes_per_second);
        let options = options.into_iter().map(|(kind, value)| TcOption::Other(DefaultNla::new(kind, value)));
        let mut message = TcMessage::with_index(index);
        message.header.parent = TcHandle::ROOT;
        message.header.handle = TcHandle { major: 1, minor: 0 };
        message.attributes =
            vec![TcAttribute::Kind("tbf".to_owned()), TcAttribute::Options(options.collect())];
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let shaping = failed("bound the bandwidth of", device);
        let mut answers = self.handle.clone().request(request).map_err(&shaping)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(refusal) = answer.payload
                && refusal.code.is_some()
            {
                let error = rtnetlink::Error::NetlinkError(refusal);
                let is_unknown = is(&error, rustix::io::Errno::NOENT);
                return Err(if is_unknown {
                    LinkError::NoShaping { source: as_io(error) }
                } else {
                    shaping(error)
                });
            }
        }
        Ok(())
    }

    async fn address(&self, index: u32, device: &str, ip: Ipv4Addr, cidr: &Cidr) -> Result<(), LinkError> {
        let request = self.handle.address().add(index, IpAddr::V4(ip), cidr.prefix()).replace();
        request.execute().await.map_err(failed("set the address of", device))
    }

    pub(super) async fn up(&self, device: &str) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(self.index(device).await?).up().build();
        self.handle.link().set(message).execute().await.map_err(failed("bring up", device))
    }

    /// No error if there is no such device. The other end of a pair goes with it.
    pub(super) async fn delete(&self, device: &str) -> Result<(), LinkError> {
        match self.find(device).await? {
            Some(link) => self.delete_index(link.header.index, device).await,
            None => Ok(()),
        }
    }

    /// The bridge with every pair at it.
    pub(super) async fn delete_bridge(&self, bridge: &str) -> Result<(), LinkError> {
        let Some(own) = self.find(bridge).await? else { return Ok(()) };
        if !is_bridge(&own) {
            return Err(LinkError::NotABridge { device: bridge.to_owned() });
        }
        let links: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("list the ports of", bridge))?;
        for link in &links {
            let name = name(link);
            let is_port = link.attributes.contains(&LinkAttribute::Controller(own.header.index));
            if is_port && name.starts_with(HOST_DEVICE_PREFIX) {
                self.delete_index(link.header.index, &name).await?;
            }
        }
        self.delete_index(own.header.index, bridge).await
    }

    async fn delete_index(&self, index: u32, device: &str) -> Result<(), LinkError> {
        match self.handle.link().del(index).execute().await {
            Err(error) if is_absent(&error) => Ok(()),
            deleted => deleted.map_err(failed("delete", device)),
        }
    }

    async fn index(&self, device: &str) -> Result<u32, LinkError> {
        let found = self.find(device).await?;
        found.map(|link| link.header.index).ok_or_else(|| LinkError::NoDevice { device: device.to_owned() })
    }

    async fn find(&self, device: &str) -> Result<Option<LinkMessage>, LinkError> {
        let mut links = Box::pin(self.handle.link().get().match_name(device).execute());
        match links.try_next().await {
            Err(error) if is_absent(&error) => Ok(None),
            found => found.map_err(failed("look up", device)),
        }
    }
}

fn name(link: &LinkMessage) -> String {
    let found = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    found.unwrap_or_default()
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    })
}
