//! Broken topologies get the messages that lie beside them, sound ones get none.
//!
//! After a change of wording: `UPDATE_EXPECTED=1 cargo test -p gateway-user --test check`,
//! then read what `git diff` shows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anstream::adapter::strip_str;
use lingyun::{
    cli::{
        check::{self, Args, Verdict},
        schema,
    },
    config::{self, Severity},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn topology(name: &str) -> String {
    fs::read_to_string(root().join("topologies").join(name)).expect("a topology of the project")
}

fn broken() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let entries = fs::read_dir(folder).expect("the folder of broken topologies");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files
}

/// What `lingyun check` shows, with the file's name alone for its path.
fn shown(path: &Path) -> (Verdict, String) {
    let args = Args {
        files: vec![path.to_owned()],
        json: false,
    };
    let mut out = Vec::new();
    let (verdict, printed) = check::check(&args, &mut out);
    printed.expect("a Vec takes everything");
    let text = String::from_utf8(out).expect("UTF-8");
    let folder = format!("{}/", path.parent().expect("a folder").display());
    (verdict, strip_str(&text).to_string().replace(&folder, ""))
}

#[test]
fn broken_files_get_the_expected_messages() {
    let mut wrong = Vec::new();
    let files = broken();
    assert!(files.len() >= 12, "only {} broken topologies", files.len());
    for path in files {
        let (_, shown) = shown(&path);
        let expected_path = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected_path, &shown).expect("the expectation can be written");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if shown != expected {
            wrong.push(format!(
                "{}:\n{shown}\ninstead of\n{expected}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn verdicts_are_exit_codes() {
    for path in broken() {
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let expected = match name.as_str() {
            "warnings" | "unpublished" => Verdict::Sound,
            _ => Verdict::Broken,
        };
        assert_eq!(shown(&path).0, expected, "{name}");
    }
    let (verdict, text) = shown(Path::new("/nowhere/at/all.yaml"));
    assert_eq!(verdict, Verdict::Unreadable);
    assert!(
        text.contains("all.yaml: error: cannot read the file: No such file"),
        "{text}"
    );
    assert_eq!(
        [Verdict::Sound, Verdict::Broken, Verdict::Unreadable].map(|v| v as u8),
        [0, 1, 2]
    );
}

#[test]
fn the_worst_file_decides() {
    let files = vec![
        root().join("topologies/minimal.yaml"),
        "/nowhere.yaml".into(),
        broken().remove(0),
    ];
    let (verdict, _) = check::check(&Args { files, json: false }, &mut Vec::new());
    assert_eq!(verdict, Verdict::Unreadable);
}

/// A pipe that closes early must not change the verdict of a script.
#[test]
fn the_verdict_does_not_depend_on_the_reader() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let files = vec![root().join("topologies/minimal.yaml")];
    for json in [false, true] {
        let (verdict, printed) = check::check(
            &Args {
                files: files.clone(),
                json,
            },
            &mut Closed,
        );
        assert_eq!(verdict, Verdict::Sound);
        let error = printed.expect_err("nobody reads");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn json_has_the_same_problems() {
    let files: Vec<_> = broken();
    let mut out = Vec::new();
    let args = Args {
        files: files.clone(),
        json: true,
    };
    check::check(&args, &mut out)
        .1
        .expect("a Vec takes everything");
    let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let list = json.as_array().expect("a list of files");
    assert_eq!(list.len(), files.len());
    let five = list
        .iter()
        .find(|file| {
            file["file"]
                .as_str()
                .is_some_and(|name| name.ends_with("five-errors.yaml"))
        })
        .expect("the file with five errors");
    assert_eq!(five["sound"], false);
    let mtu = &five["problems"][0];
    assert_eq!(mtu["severity"], "error");
    assert_eq!((&mtu["line"], &mtu["column"]), (&4.into(), &15.into()));
    assert!(
        mtu["what"]
            .as_str()
            .is_some_and(|what| what.contains("too small"))
    );
    assert!(
        mtu["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("1550"))
    );
}

#[test]
fn every_problem_has_a_place_and_says_how_to_mend_it() {
    for path in broken() {
        let text = fs::read_to_string(&path).expect("a file");
        let problems = match config::parse("f", &text) {
            Ok(loaded) => loaded.warnings,
            Err(report) => {
                assert!(
                    report
                        .problems
                        .iter()
                        .any(|p| p.severity == Severity::Error)
                );
                report.problems
            }
        };
        assert!(!problems.is_empty(), "{}", path.display());
        for problem in problems {
            assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
            assert!(
                problem.line as usize <= text.lines().count() + 1,
                "{problem:?}"
            );
            assert!(
                problem.what.len() > 10 && problem.hint.len() > 10,
                "{problem:?}"
            );
        }
    }
}

#[test]
fn five_errors_are_told_at_once() {
    let path = broken()
        .into_iter()
        .find(|path| path.ends_with("five-errors.yaml"));
    let text = fs::read_to_string(path.expect("the file")).expect("text");
    let report = config::parse("f", &text).expect_err("five errors");
    let lines: Vec<_> = report.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [4, 8, 16, 18, 20]);
    assert_eq!(report.to_string().matches("  help: ").count(), 5);
}

#[test]
fn a_ring_has_room_for_4096_backends() {
    let with = |count: usize| {
        let instances: String = (0..count)
            .map(|n| {
                let (high, low) = (n / 250, n % 250 + 2);
                format!(
                    "\n      - {{ name: vm-{n}, ip: 172.16.{high}.{low}, \
                     mac: \"02:bb:00:00:{high:02x}:{low:02x}\", host: host-a }}"
                )
            })
            .collect();
        let names: Vec<_> = (0..count).map(|n| format!("vm-{n}")).collect();
        let text = topology("minimal.yaml")
            .replace("172.16.1.0/24", "172.16.0.0/16")
            .replace("172.16.1.11", "172.16.99.11")
            .replace("172.16.1.20", "172.16.99.20")
            .replace("    instances:", &format!("    instances:{instances}"))
            .replace(
                "backends: [web-1]",
                &format!("backends: [{}]", names.join(", ")),
            );
        config::parse("many", &text)
    };
    let loaded = with(4096).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.topology.load_balancers[0].backends.len(), 4096);
    let report = with(4097).expect_err("one too many");
    assert!(
        report
            .to_string()
            .contains("4097 backends are more than a ring can share"),
        "{report}"
    );
}

#[test]
fn defaults_are_filled_in() {
    let text = topology("minimal.yaml").replace("[web-1]", "[{ instance: web-1, weight: 3 }]");
    let config::Loaded { topology, warnings } = config::parse("f", &text).expect("sound");
    assert_eq!(warnings, []);
    let vpc = &topology.vpcs[0];
    assert_eq!(vpc.cidrs, ["172.16.1.0/24".parse().expect("a range")]);
    assert_eq!(vpc.router_mac.to_string(), "02:4c:59:00:13:89");
    assert_eq!(vpc.subnets[0].router.to_string(), "172.16.1.1");
    let backend = topology.load_balancers[0].backends[0];
    assert_eq!((backend.port, backend.weight), (443, 3));
    assert_eq!(topology.gateways[0].public, ["eth0"]);

    let secret = format!("secret: \"{}\"\n", "00112233445566778899aabbccddeeff");
    let with_secret = config::parse("f", &(text + &secret))
        .expect("sound")
        .topology;
    assert_eq!(
        with_secret.seed,
        [0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff]
    );
    assert_ne!(topology.seed, with_secret.seed);
}

#[test]
fn references_become_indices() {
    let topology = config::parse("f", &topology("order.yaml"))
        .expect("sound")
        .topology;
    let web = &topology.load_balancers[3];
    assert_eq!(
        (web.name.as_str(), web.protocol, web.port),
        ("other-web", config::Protocol::Tcp, 80)
    );
    let instance = topology.instance(web.backends[1].instance);
    assert_eq!(
        (instance.name.as_str(), web.backends[1].port),
        ("web-2", 8000)
    );
    assert_eq!(topology.hosts[instance.host].name, "host-b");
    assert_eq!(topology.subnet_of(web.backends[1].instance).name, "zone-1");
    assert_eq!(
        topology.instance(topology.floating_ips[0].instance).name,
        "bastion"
    );
}

#[test]
fn aliases_and_merges_serve() {
    let text = topology("minimal.yaml")
        .replace("vtep: 10.0.1.1 }", "vtep: &vtep 10.0.1.1 }")
        .replace("- { name: web-1, ", "- &vm { name: web-1, ")
        .replace(
            "{ name: bastion, ip: 172.16.1.20, mac: \"02:aa:00:00:01:20\", host: host-a }",
            "{ <<: *vm, name: bastion, ip: 172.16.1.20, mac: \"02:aa:00:00:01:20\" }",
        );
    let loaded = config::parse("f", &text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.topology.vpcs[0].instances[1].name, "bastion");
    let report = config::parse("f", &text.replace("vip: 203.0.113.10", "vip: *vtep"));
    let report = report.expect_err("a VIP that is a VTEP");
    assert!(
        report
            .to_string()
            .contains("public address 10.0.1.1 is also the VTEP"),
        "{report}"
    );
}

#[test]
fn files_that_are_no_text_are_said_to_be_none() {
    let folder = std::env::temp_dir().join(format!("lingyun-check-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("latin1.yaml");
    fs::write(&path, b"version: 1\n# caf\xe9\n").expect("a file");
    let (verdict, text) = shown(&path);
    fs::remove_dir_all(&folder).expect("the folder is ours");
    assert_eq!(verdict, Verdict::Unreadable);
    assert!(text.contains("not UTF-8 text: line 2"), "{text}");
    assert!(
        config::parse("f", "")
            .expect_err("empty")
            .to_string()
            .contains("the file is empty")
    );
    assert!(config::parse("f", "just text").is_err());
}

#[test]
fn the_topologies_of_the_project_are_sound() {
    for name in [
        "minimal.yaml",
        "order.yaml",
        "dual-stack.yaml",
        "ipv6-underlay.yaml",
    ] {
        let loaded = config::load(&root().join("topologies").join(name))
            .unwrap_or_else(|report| panic!("{}", strip_str(&report.pretty())));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
    assert!(topology("minimal.yaml").lines().count() <= 27);
}

#[test]
fn the_schema_is_the_one_in_the_repository() {
    let path = root().join("topologies/schema.json");
    let text = schema::text().expect("a schema");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &text).expect("the schema can be written");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == stored,
        "run `lingyun schema > topologies/schema.json`"
    );
}

/// The example in the manual is the file, and the manual knows every key.
#[test]
fn the_manual_is_up_to_date() {
    let page = |name| fs::read_to_string(root().join("docs").join(name)).expect("a page");
    let manual = page("topology.md") + &page("guard.md");
    let minimal = topology("minimal.yaml");
    let body = minimal.split_once("version: 1").expect("a version").1;
    assert!(
        manual.contains(body),
        "the example differs from topologies/minimal.yaml"
    );

    let schema = schema::text().expect("a schema");
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let records = schema["$defs"]
        .as_object()
        .expect("records")
        .values()
        .chain([&schema]);
    let keys = records.flat_map(|record| record["properties"].as_object().expect("keys").keys());
    for key in keys {
        let described = [format!("`{key}`"), format!(".{key}`"), format!("`{key}.")];
        assert!(
            described.iter().any(|d| manual.contains(d)),
            "`{key}` is not described"
        );
    }
}
