//! `deploy/` against the binaries, and by the word of whoever will read it: systemd, Kubernetes' and Compose's schemas,
//! hadolint, Prometheus.
//!
//! Invariant: nothing here needs a network. A tool that is not installed is named in a line, with what is skipped for
//! want of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::process::{new_folder, run};
use harness::{apns, binary, fcm};
use serde::Deserialize;
use serde_norway::Value;

const SERVICES: [&str; 2] = ["identity", "push-gateway"];

/// What `systemd-analyze security` may find at most, in tenths: 0 is a unit that can do nothing.
const EXPOSURE: &str = "--threshold=15";

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn read(path: &str) -> String {
    let path = deploy(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = serde_norway::Deserializer::from_str(&text).map(Value::deserialize);
    documents.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn of_kind(documents: &[Value], kind: &str) -> Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("there is no {kind}")).clone()
}

fn items(value: &Value) -> &[Value] {
    value.as_sequence().map_or_else(|| panic!("no list: {value:?}"), Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"))
}

fn executable(service: &str) -> &'static Path {
    if service == "identity" { binary::identity() } else { binary::push_gateway() }
}

/// Files with secrets, such as an operator has, by the names that `deploy/` gives them.
async fn secrets() -> BTreeMap<&'static str, String> {
    let key = Command::new(binary::identity()).arg("generate-key").output().expect("the binary can be started");
    let (apple, google) = (apns::Apple::start().await, fcm::Google::start().await);
    BTreeMap::from([
        ("signing.key", String::from_utf8(key.stdout).expect("a line")),
        ("database-url", "postgres://identity:p%40ss@postgres/identity".to_owned()),
        ("smtp-password", "hunter2\n".to_owned()),
        ("apns.p8", apple.key_pem()),
        ("firebase.json", google.service_account().to_string()),
    ])
}

/// `check-config` on these settings, with these files beside them and no others; gives what it noted.
async fn check_config(service: &str, settings: &str, files: &[&str]) -> Vec<String> {
    let folder = new_folder();
    let secrets = secrets().await;
    for &name in files {
        std::fs::write(folder.path().join(name), &secrets[name]).expect("the folder takes files");
    }
    std::fs::write(folder.path().join("config.toml"), settings).expect("the folder takes files");
    let output = run(executable(service), folder.path(), &["check-config"], &[]).await;
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{service}: {said}{complaint}\n{settings}");
    said.lines().filter(|line| line.starts_with("note: ")).map(str::to_owned).collect()
}

/// Whether these settings listen on that port of every interface.
fn listens(settings: &str, port: &Value) -> bool {
    let port = port.as_u64().unwrap_or_else(|| panic!("no port: {port:?}"));
    settings.contains(&format!("bind = \"0.0.0.0:{port}\""))
}

/// Where the image of `service` looks for its settings.
fn place_of_settings(service: &str) -> String {
    let variable = format!("ENV {}_CONFIG=", service.to_uppercase().replace('-', "_"));
    let dockerfile = read("Dockerfile");
    let place = dockerfile.lines().find_map(|line| line.strip_prefix(&variable));
    place.unwrap_or_else(|| panic!("no {variable}")).to_owned()
}

/// Runs a tool that may not be there and must not complain.
fn tool(name: &str, arguments: &[&dyn AsRef<OsStr>]) -> Option<String> {
    match Command::new(name).args(arguments.iter().map(|argument| argument.as_ref())).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: what {name} has to say, for it is not installed");
            None
        }
        Err(error) => panic!("{name}: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {said}");
            Some(said)
        }
    }
}

#[tokio::test]
async fn what_kubernetes_mounts_is_what_the_settings_name() {
    for service in SERVICES {
        let kustomization = of_kind(&yaml(&format!("kubernetes/{service}/kustomization.yaml")), "Kustomization");
        let settings = read(&format!("kubernetes/{service}/{service}.toml"));
        assert_eq!(kustomization["configMapGenerator"][0]["files"][0], format!("{service}.toml"));
        let files = items(&kustomization["secretGenerator"][0]["files"]).iter().map(text);
        let files: Vec<&str> = files.filter_map(|file| file.strip_prefix("secrets/")).collect();
        assert_eq!(check_config(service, &settings, &files).await, Vec::<String>::new());

        let manifest = yaml(&format!("kubernetes/{service}/{service}.yaml"));
        let pod = of_kind(&manifest, "Deployment")["spec"]["template"]["spec"].clone();
        let container = &pod["containers"][0];
        assert_eq!(
            format!("{}/{service}.toml", text(&container["volumeMounts"][0]["mountPath"])),
            place_of_settings(service)
        );
        for port in items(&container["ports"]) {
            assert!(listens(&settings, &port["containerPort"]), "{service}: {port:?}");
        }
    }
}

#[tokio::test]
async fn what_compose_mounts_is_what_the_settings_name() {
    let compose = &yaml("compose.yaml")[0];
    for service in SERVICES {
        let described = &compose["services"][service];
        let source = text(&compose["configs"][service]["file"]);
        let settings = read(source);
        assert_eq!(text(&described["configs"][0]["target"]), place_of_settings(service));
        let folder = format!("/etc/{service}/");
        let files = items(&described["secrets"]).iter().map(|secret| text(&secret["target"]));
        let files: Vec<&str> = files.filter_map(|file| file.strip_prefix(folder.as_str())).collect();
        let notes = check_config(service, &settings, &files).await;
        assert!(notes.iter().all(|note| note.contains("public_base_url is http")), "{notes:?}");

        let port = text(&described["ports"][0]).rsplit(':').next().and_then(|port| port.parse::<u64>().ok());
        assert!(listens(&settings, &Value::from(port.expect("a port"))), "{service}");
        let check = items(&described["healthcheck"]["test"]).iter().map(text).collect::<Vec<_>>().join(" ");
        let port =
            check.split("/dev/tcp/127.0.0.1/").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(listens(&settings, &Value::from(port.expect("a port"))), "{check}");
    }
}

#[test]
fn the_units_are_understood_by_systemd_and_may_do_little() {
    let folder = new_folder();
    for service in SERVICES {
        // The unit has to name a program that is there.
        let installed = format!("/usr/local/bin/{service}");
        let unit = read(&format!("systemd/{service}.service"));
        assert!(unit.contains(&installed), "{service}");
        let path = folder.path().join(format!("{service}.service"));
        std::fs::write(&path, unit.replace(&installed, &executable(service).display().to_string()))
            .expect("the folder takes files");
        let verified = tool("systemd-analyze", &[&"verify", &"--man=no", &path]);
        // What it does not understand it tells, and takes no offence.
        let complaints = verified.unwrap_or_default();
        assert!(!complaints.contains(&format!("{service}.service:")), "{complaints}");
        tool("systemd-analyze", &[&"security", &"--offline=true", &"--no-pager", &EXPOSURE, &path]);
    }
}

#[test]
fn the_manifests_are_as_kubernetes_wants_them() {
    let written = SERVICES.map(|service| deploy(&format!("kubernetes/{service}/{service}.yaml")));
    tool("kubernetes-validate", &[&"--strict", &"--quiet", &written[0], &written[1]]);

    // As kustomize puts them together, with files in place of the secrets.
    let folder = new_folder();
    let copied = Command::new("cp").arg("-R").arg(deploy("kubernetes/.")).arg(folder.path()).status();
    assert!(copied.is_ok_and(|status| status.success()));
    for service in SERVICES {
        let kustomization = of_kind(&yaml(&format!("kubernetes/{service}/kustomization.yaml")), "Kustomization");
        let secrets = folder.path().join(service).join("secrets");
        std::fs::create_dir_all(&secrets).expect("the folder takes folders");
        for file in items(&kustomization["secretGenerator"][0]["files"]) {
            std::fs::write(folder.path().join(service).join(text(file)), "x").expect("the folder takes files");
        }
    }
    let Some(rendered) = tool("kubectl", &[&"kustomize", &folder.path()]) else { return };
    for service in SERVICES {
        assert!(!rendered.contains(&format!("configMap:\n              name: {service}\n")), "{service} has no hash");
    }
    let path = folder.path().join("rendered.yaml");
    std::fs::write(&path, rendered).expect("the folder takes files");
    tool("kubernetes-validate", &[&"--strict", &"--quiet", &path]);
}

#[test]
fn compose_file_and_dockerfile_are_as_their_tools_want_them() {
    tool("check-jsonschema", &[&"--builtin-schema", &"vendor.compose-spec", &deploy("compose.yaml")]);
    tool("hadolint", &[&deploy("Dockerfile")]);
}

#[test]
fn the_alerts_tell_an_attack_from_a_usual_day() {
    tool("promtool", &[&"check", &"rules", &deploy("prometheus/identity-sms.rules.yml")]);
    tool("promtool", &[&"test", &"rules", &deploy("prometheus/identity-sms.test.yml")]);
}
