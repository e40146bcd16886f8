//! The journey in the lab: where to look, what to expect, and the order itself.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddrV4},
};

use anyhow::{Context, Result, bail, ensure};
use lingyun::config::{InstanceId, LoadBalancer, Mac};
use serde_json::{Value, json};

use super::{Client, Database, Expectation, Gateway, Journey, Service, trace};
use crate::{
    capture::{Capture, Point, Recording},
    lab::{Device, Kind, Lab, POSTGRES_PORT},
};

/// What a customer orders.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// The client's node.
    pub client: String,
    /// What.
    pub item: String,
    /// How many.
    pub quantity: u32,
    /// The key under which the order may be repeated.
    pub key: String,
}

/// An order that was placed, and the way that it took.
#[derive(Debug)]
pub struct Placed {
    /// HTTP status of the answer.
    pub status: u16,
    /// The answer.
    pub answer: Value,
    /// Everything that was captured meanwhile.
    pub recording: Recording,
    /// The way of the request and of the answer.
    pub journey: Journey,
}

/// Places an order with curl from a client of the lab, while every device is watched.
pub fn place(lab: &Lab, purchase: &Purchase) -> Result<Placed> {
    let capture = Capture::start(&points(lab))?;
    let (status, port, answer) = order(lab, purchase)?;
    let recording = capture.stop()?;
    let expectation = expectation(lab, purchase, port)?;
    let journey = trace(&recording.frames, &expectation)?;
    Ok(Placed {
        status,
        answer,
        recording,
        journey,
    })
}

/// Both ends of every link. Devices inside a node, such as a kernel's VXLAN device,
/// show nothing more, and a frame there carries the time of its arrival at the node.
pub fn points(lab: &Lab) -> Vec<Point> {
    let point = |device: &Device| Point {
        ns_path: lab.netns_path(&device.node),
        namespace: label(lab, &device.node),
        device: device.interface.clone(),
    };
    lab.devices().iter().map(point).collect()
}

/// Status, the client's port and the answer.
fn order(lab: &Lab, purchase: &Purchase) -> Result<(u16, u16, Value)> {
    let (name, address) = lab
        .shop()
        .context("the site has no order service behind a VIP")?;
    let port = shop(lab)?.port;
    let body = json!({
        "item": purchase.item,
        "quantity": purchase.quantity,
        "customer": purchase.client,
    });
    let authority = lab.authority().display().to_string();
    let output = lab.exec(
        &purchase.client,
        &[
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--cacert",
            &authority,
            "--resolve",
            &format!("{name}:{port}:{address}"),
            "--header",
            "Content-Type: application/json",
            "--header",
            &format!("Idempotency-Key: {}", purchase.key),
            "--data",
            &body.to_string(),
            "--write-out",
            "\n%{http_code} %{local_port}",
            &format!("https://{name}:{port}/purchaseOrder"),
        ],
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "curl in {}: {}",
        purchase.client,
        error.trim()
    );
    let (answer, told) = text.rsplit_once('\n').context("curl told no status")?;
    let (status, port) = told.split_once(' ').context("curl told no port")?;
    let answer = serde_json::from_str(answer).with_context(|| format!("`{answer}` is no order"))?;
    Ok((status.parse()?, port.parse()?, answer))
}

/// The load balancer in front of the shop.
fn shop(lab: &Lab) -> Result<&LoadBalancer> {
    let (_, address) = lab
        .shop()
        .context("the site has no order service behind a VIP")?;
    let fronts = |service: &&LoadBalancer| {
        service.vip == address
            && service.backends.iter().any(|backend| {
                lab.site()
                    .services()
                    .any(|(id, _, kind)| id == backend.instance && matches!(kind, Kind::Haproxy(_)))
            })
    };
    let mut services = lab.site().topology.load_balancers.iter();
    services
        .find(fronts)
        .with_context(|| format!("no HAProxy stands behind {address}"))
}

/// What the lab's topology says about the way of an order.
fn expectation(lab: &Lab, purchase: &Purchase, port: u16) -> Result<Expectation> {
    let topology = &lab.site().topology;
    let shop = shop(lab)?;
    let (IpAddr::V4(vip), IpAddr::V4(anycast_vtep)) = (shop.vip, topology.anycast_vtep) else {
        bail!("the journey of an order over IPv6 cannot be told yet");
    };
    let mut proxies = Vec::new();
    for backend in &shop.backends {
        proxies.push(service(lab, backend.instance, backend.port)?);
    }
    let (mut controllers, mut database) = (Vec::new(), None);
    for (id, _, kind) in lab.site().services() {
        match kind {
            Kind::OrderService(orders) => controllers.push(service(lab, id, orders.port)?),
            Kind::Postgresql(_) => database = Some(service(lab, id, POSTGRES_PORT)?),
            Kind::Haproxy(_) | Kind::Peer(_) => {}
        }
    }
    let vpc = &topology.vpcs[shop.backends[0].instance.vpc];
    let client = devices_of(lab, &purchase.client)
        .flat_map(|device| &device.addresses)
        .find_map(|address| match address.addr() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .with_context(|| format!("{} has no IPv4 address", purchase.client))?;
    let macs = |node: &str, names: &[String]| {
        let named = devices_of(lab, node).filter(|device| names.contains(&device.interface));
        named.map(|device| device.mac).collect::<Vec<_>>()
    };
    let gateways = topology.gateways.iter().map(|gateway| Gateway {
        namespace: label(lab, &gateway.name),
        public_macs: macs(&gateway.name, &gateway.public),
        underlay_macs: macs(&gateway.name, &gateway.underlay),
    });
    Ok(Expectation {
        client: Client {
            namespace: label(lab, &purchase.client),
            ip: client,
            port: Some(port),
        },
        vip: SocketAddrV4::new(vip, shop.port),
        gateways: gateways.collect(),
        anycast_vtep,
        vni: vpc.vni,
        router_mac: vpc.router_mac,
        proxies,
        controllers,
        database: database.map(|service| Database {
            service,
            needle: purchase.key.clone().into_bytes(),
        }),
        mac_names: mac_names(lab),
    })
}

fn devices_of<'l>(lab: &'l Lab, node: &str) -> impl Iterator<Item = &'l Device> {
    lab.devices()
        .iter()
        .filter(move |device| device.node == node)
}

fn mac_names(lab: &Lab) -> BTreeMap<Mac, String> {
    let mut names = BTreeMap::new();
    for vpc in &lab.site().topology.vpcs {
        names.insert(vpc.router_mac, format!("{} router", vpc.name));
    }
    for device in lab.devices() {
        let node = label(lab, &device.node);
        let is_vm = lab.site().instance(&device.node).is_some();
        let name = if is_vm {
            node
        } else {
            format!("{node}:{}", device.interface)
        };
        names.insert(device.mac, name);
    }
    names
}

fn service(lab: &Lab, id: InstanceId, port: u16) -> Result<Service> {
    let node = lab.site().instance_name(id);
    Service::new(&lab.site().topology, id, port, &label(lab, &node))
}

/// What to call a node: an instance by its own name when no other VPC has one of
/// this name.
fn label(lab: &Lab, node: &str) -> String {
    let Some((_, name)) = node.split_once('/') else {
        return node.to_owned();
    };
    let instances = lab.site().topology.instances();
    match instances
        .filter(|(_, instance)| instance.name == name)
        .count()
    {
        1 => name.to_owned(),
        _ => node.to_owned(),
    }
}
