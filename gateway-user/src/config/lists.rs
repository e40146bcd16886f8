//! Deny and allow lists: what the topology says itself, and the files that it names.

use std::{collections::BTreeMap, fs, path::Path};

use ipnet::IpNet;

use super::{
    document::{
        Document,
        guard::{FileName, Guard, InterfaceLists, Source},
    },
    guard::Lists,
    list::{Entries, List},
    problem::{Place, Problems},
    read::{Maybe, Optional},
    scalar::Scalar,
};

/// Wrong lines of one file that are told; a file of another kind has nothing but them.
const MOST_WRONG: usize = 10;

/// All lists of a document.
#[derive(Debug, Default)]
pub(super) struct AllLists {
    /// For every public interface.
    pub(super) everywhere: Lists,
    /// In the order of `guard.interfaces`.
    pub(super) interfaces: Vec<Lists>,
}

/// Reads them all.
pub(super) fn read(document: &Document, folder: &Path, problems: &mut Problems) -> AllLists {
    let Some(guard) = document.guard.given() else {
        return AllLists::default();
    };
    let mut reader = Reader { folder, problems };
    let Guard {
        deny,
        deny_file,
        allow,
        allow_file,
        interfaces,
        ..
    } = &guard.value;
    let everywhere = reader.both((deny, deny_file), (allow, allow_file));
    let interfaces = interfaces.entries().iter().map(|interface| {
        let InterfaceLists {
            deny,
            deny_file,
            allow,
            allow_file,
            ..
        } = &interface.value;
        reader.both((deny, deny_file), (allow, allow_file))
    });
    AllLists {
        everywhere,
        interfaces: interfaces.collect(),
    }
}

/// A key with prefixes, and one with the name of a file of them.
type Keys<'d> = (&'d Maybe<List<Source, 0>>, &'d Maybe<FileName>);

/// Where a prefix stands: a place in the topology, and words for people.
type Origin = (Place, String);

struct Reader<'r> {
    folder: &'r Path,
    problems: &'r mut Problems,
}

impl Reader<'_> {
    /// A deny and an allow list, which have nothing in common.
    fn both(&mut self, deny: Keys<'_>, allow: Keys<'_>) -> Lists {
        let (deny, allow) = (self.list(deny), self.list(allow));
        for (net, (at, origin)) in &allow {
            if let Some((_, other)) = deny.get(net) {
                self.problems.error(
                    *at,
                    format!("{net} is allowed ({origin}) and denied ({other})"),
                    "remove it from one of the lists; of different ranges the longest prefix \
                     decides",
                );
            }
        }
        Lists {
            allow: allow.into_keys().collect(),
            deny: deny.into_keys().collect(),
        }
    }

    /// One list. That a prefix stands in it twice does no harm.
    fn list(&mut self, (inline, file): Keys<'_>) -> BTreeMap<IpNet, Origin> {
        let mut list = BTreeMap::new();
        for source in inline.entries() {
            list.insert(source.0, (source.at, format!("line {}", source.at.line)));
        }
        if let Some(name) = file.given() {
            self.file(&name.0, name.at, &mut list);
        }
        list
    }

    fn file(&mut self, name: &str, at: Place, list: &mut BTreeMap<IpNet, Origin>) {
        let path = self.folder.join(name);
        // A pipe or a device would keep the agent waiting.
        let is_file = fs::metadata(&path).map(|about| about.is_file());
        if let Ok(false) = is_file {
            let what = format!("{} is no regular file", path.display());
            return self.problems.error(at, what, "name a text file");
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                return self.problems.error(
                    at,
                    format!("cannot read {}: {error}", path.display()),
                    "the path is relative to the topology's folder, and the file is UTF-8 text",
                );
            }
        };
        let mut wrong = 0;
        for (line, number) in text.lines().zip(1_usize..) {
            let source = line.split('#').next().unwrap_or("").trim();
            if source.is_empty() {
                continue;
            }
            match Source::parse(source) {
                Ok(Source(net)) => {
                    list.insert(net, (at, format!("line {number} of {name}")));
                }
                Err((what, hint)) => {
                    wrong += 1;
                    if wrong <= MOST_WRONG {
                        let what = format!("line {number} of {name}: {what}");
                        self.problems.error(at, what, hint);
                    }
                }
            }
        }
        if wrong > MOST_WRONG {
            self.problems.error(
                at,
                format!("{} more lines of {name} are wrong", wrong - MOST_WRONG),
                "the file has one address or range a line; `#` begins a comment",
            );
        }
    }
}
