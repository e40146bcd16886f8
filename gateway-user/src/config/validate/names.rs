//! Names: each is given once, and whoever refers to one finds it.

use std::collections::BTreeMap;

use crate::config::{
    document::{Document, Instance, LoadBalancer, Vpc},
    list::Entries,
    problem::{Place, Problems},
    read::{At, listed, similar},
    scalar::Name,
};

/// The names of one kind of thing.
#[derive(Debug)]
struct Table<'d> {
    /// As in "there is no host ...".
    noun: &'static str,
    known: BTreeMap<&'d str, usize>,
    /// All of them could be read; if not, one that is not found is no news.
    complete: bool,
}

impl<'d> Table<'d> {
    /// Reports names that are given twice.
    fn new(
        noun: &'static str,
        complete: bool,
        names: impl Iterator<Item = &'d Option<At<Name>>>,
        problems: &mut Problems,
    ) -> Self {
        let mut table = Self {
            noun,
            known: BTreeMap::new(),
            complete,
        };
        let mut lines = BTreeMap::new();
        for (index, name) in names.enumerate() {
            let Some(name) = name else {
                table.complete = false;
                continue;
            };
            let line = *lines.entry(name.0.as_str()).or_insert(name.at.line);
            if table.known.contains_key(name.0.as_str()) {
                problems.error(
                    name.at,
                    format!("`{}` is already the {noun} on line {line}", name.value),
                    format!("give each {noun} a name of its own"),
                );
            } else {
                table.known.insert(&name.0, index);
            }
        }
        table
    }

    /// The one with this name; reports that there is none, with `hint` or
    /// the name that is most like it.
    fn find(
        &self,
        name: &At<Name>,
        hint: Option<String>,
        problems: &mut Problems,
    ) -> Option<usize> {
        let found = self.known.get(name.0.as_str()).copied();
        if found.is_none() && self.complete {
            let names = || self.known.keys().copied();
            let guess = || similar(&name.0, names()).map(|name| format!("did you mean `{name}`?"));
            let hint = hint
                .or_else(guess)
                .unwrap_or_else(|| match self.known.is_empty() {
                    true => format!(
                        "there is none so far: add one with the name `{}`",
                        name.value
                    ),
                    false => format!("known: {}", listed(names())),
                });
            problems.error(
                name.at,
                format!("there is no {} `{}`", self.noun, name.value),
                hint,
            );
        }
        found
    }
}

/// Every name of a document.
#[derive(Debug)]
pub(in crate::config) struct Names<'d> {
    document: &'d Document,
    hosts: Table<'d>,
    vpcs: Table<'d>,
    instances: Vec<Table<'d>>,
    subnets: Vec<Table<'d>>,
}

impl<'d> Names<'d> {
    /// Collects them, and reports those that are given twice.
    pub(in crate::config) fn new(document: &'d Document, problems: &mut Problems) -> Self {
        let hosts = document.hosts.entries();
        let vpcs = document.vpcs.entries();
        let services = document.load_balancers.entries();
        let gateways = document.gateways.entries();
        Table::new(
            "gateway",
            true,
            gateways.iter().map(|gateway| &*gateway.name),
            problems,
        );
        Table::new(
            "load balancer",
            true,
            services.iter().map(|lb| &*lb.name),
            problems,
        );
        Self {
            document,
            hosts: Table::new(
                "host",
                document.hosts.is_complete(),
                hosts.iter().map(|host| &*host.name),
                problems,
            ),
            vpcs: Table::new(
                "VPC",
                document.vpcs.is_complete(),
                vpcs.iter().map(|vpc| &*vpc.name),
                problems,
            ),
            subnets: vpcs
                .iter()
                .map(|vpc| {
                    let subnets = vpc.subnets.entries().iter().map(|subnet| &*subnet.name);
                    Table::new("subnet", vpc.subnets.is_complete(), subnets, problems)
                })
                .collect(),
            instances: vpcs
                .iter()
                .map(|vpc| {
                    let instances = vpc.instances.entries().iter().map(|vm| &*vm.name);
                    Table::new("instance", vpc.instances.is_complete(), instances, problems)
                })
                .collect(),
        }
    }

    /// The VPCs that could be read.
    pub(in crate::config) fn vpcs(&self) -> &'d [At<Vpc>] {
        self.document.vpcs.entries()
    }

    /// The services that could be read.
    pub(in crate::config) fn services(&self) -> &'d [At<LoadBalancer>] {
        self.document.load_balancers.entries()
    }

    /// Index of the host with this name.
    pub(in crate::config) fn host(
        &self,
        name: &Option<At<Name>>,
        problems: &mut Problems,
    ) -> Option<usize> {
        self.hosts.find(name.as_ref()?, None, problems)
    }

    /// Index of the VPC with this name.
    pub(in crate::config) fn vpc(
        &self,
        name: &Option<At<Name>>,
        problems: &mut Problems,
    ) -> Option<usize> {
        self.vpcs.find(name.as_ref()?, None, problems)
    }

    /// The same for a name that is there.
    pub(in crate::config) fn vpc_at(
        &self,
        name: &At<Name>,
        problems: &mut Problems,
    ) -> Option<usize> {
        self.vpcs.find(name, None, problems)
    }

    /// Index of the instance with this name in a VPC.
    pub(in crate::config) fn instance(
        &self,
        vpc: usize,
        name: &Option<At<Name>>,
        problems: &mut Problems,
    ) -> Option<usize> {
        let name = name.as_ref()?;
        let elsewhere = self.vpcs.known.iter().find_map(|(other, index)| {
            let found = *index != vpc && self.instances[*index].known.contains_key(name.0.as_str());
            found.then(|| {
                format!(
                    "`{}` is in VPC `{other}`; a service and its instances are in the same VPC",
                    name.value
                )
            })
        });
        self.instances[vpc].find(name, elsewhere, problems)
    }

    /// Index of the subnet with this name in a VPC.
    pub(in crate::config) fn subnet(
        &self,
        vpc: usize,
        name: &At<Name>,
        problems: &mut Problems,
    ) -> Option<usize> {
        self.subnets[vpc].find(name, None, problems)
    }

    /// An instance by its indices.
    pub(in crate::config) fn vm(&self, vpc: usize, instance: usize) -> &'d At<Instance> {
        &self.vpcs()[vpc].instances.entries()[instance]
    }
}

/// Reports names that are given twice to things that nobody refers to.
pub(super) fn unique_names<'d>(
    noun: &'static str,
    names: impl Iterator<Item = &'d Option<At<Name>>>,
    problems: &mut Problems,
) {
    Table::new(noun, true, names, problems);
}

/// Tells which of several things share a value that only one of them may have.
pub(super) fn unique<K: Ord + Copy>(
    items: impl IntoIterator<Item = (K, Place)>,
    mut twice: impl FnMut(K, Place, u32),
) {
    let mut lines = BTreeMap::new();
    for (key, at) in items {
        match lines.get(&key) {
            Some(line) => twice(key, at, *line),
            None => _ = lines.insert(key, at.line),
        }
    }
}
