//! `deploy/` checked by the binaries and by the tools that read it: systemd, the schemas of Kubernetes and Compose,
//! hadolint, promtool.
//!
//! Invariant: no test here needs a network. A check whose tool is missing is listed as skipped.

mod homeserver;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::process::{new_folder, run};
use harness::{apns, binary, fcm};
use serde_json::Value;

const SERVICES: [&str; 2] = ["identity", "push-gateway"];

/// The highest exposure that `systemd-analyze security` may report, in tenths; 0 is a fully confined unit.
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
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn of_kind(documents: &[Value], kind: &str) -> Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("there is no {kind}")).clone()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or_else(|| panic!("no list: {value:?}"), Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"))
}

fn executable(service: &str) -> &'static Path {
    if service == "identity" { binary::identity() } else { binary::push_gateway() }
}

/// An operator's files with secrets, by their names in `deploy/`.
async fn secrets() -> BTreeMap<&'static str, String> {
    let key = Command::new(binary::identity()).arg("generate-key").output().expect("the binary can be started");
    let (apple, google) = (apns::Apple::start().await, fcm::Google::start().await);
    BTreeMap::from([
        ("signing.key", String::from_utf8(key.stdout).expect("a line")),
        ("database-url", "postgres://identity:p%40ss@postgres/identity".to_owned()),
        ("smtp-password", "hunter2\n".to_owned()),
        ("apns.p8", apple.key_pem()),
        ("firebase.json", google.service_account().to_string()),
        // 32 bytes in base64url, as web-push of npm prints a key.
        ("vapid.pem", String::from("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")),
    ])
}

/// The admin listener of a container, which only its own network reaches.
fn is_admin_of_pod(note: &str) -> bool {
    note.contains("[admin] bind: everyone who reaches 0.0.0.0:")
}

/// Whether the note asks to replace the example's addresses of proxies.
fn is_example_range(note: &str) -> bool {
    note.contains("[http] trusted_proxies: 192.0.2.0/24 is a range of examples")
}

/// Runs `check-config` on these settings with only these files beside them; returns its notes.
async fn check_config(service: &str, settings: &str, files: &[&str]) -> Vec<String> {
    let folder = new_folder();
    let secrets = secrets().await;
    for &name in files {
        let path = folder.path().join(name);
        std::fs::write(&path, &secrets[name]).expect("the folder takes files");
        // As the manifests mount them: the server notes a signing key that every user can read.
        std::fs::set_permissions(&path, Permissions::from_mode(0o440)).expect("an own file");
    }
    std::fs::write(folder.path().join("config.toml"), settings).expect("the folder takes files");
    let output = run(executable(service), folder.path(), &["check-config"], &[]).await;
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{service}: {said}{complaint}\n{settings}");
    said.lines().filter(|line| line.starts_with("note: ")).map(str::to_owned).collect()
}

/// Whether these settings listen on this port of every interface.
fn listens(settings: &str, port: &Value) -> bool {
    let port = port.as_u64().unwrap_or_else(|| panic!("no port: {port:?}"));
    settings.contains(&format!("bind = \"0.0.0.0:{port}\""))
}

/// The path of the settings in the image of `service`.
fn place_of_settings(service: &str) -> String {
    let variable = format!("ENV {}_CONFIG=", service.to_uppercase().replace('-', "_"));
    let dockerfile = read("Dockerfile");
    let place = dockerfile.lines().find_map(|line| line.strip_prefix(&variable));
    place.unwrap_or_else(|| panic!("no {variable}")).to_owned()
}

/// Runs a tool, which must succeed; `None` if it is not installed.
fn tool(name: &str, arguments: &[&dyn AsRef<OsStr>]) -> Option<String> {
    match Command::new(name).args(arguments.iter().map(|argument| argument.as_ref())).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            harness::skipped::check(&format!("the check by {name}"));
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
async fn the_kubernetes_manifests_mount_the_files_that_the_settings_name() {
    for service in SERVICES {
        let kustomization = of_kind(&yaml(&format!("kubernetes/{service}/kustomization.yaml")), "Kustomization");
        let settings = read(&format!("kubernetes/{service}/{service}.toml"));
        assert_eq!(kustomization["configMapGenerator"][0]["files"][0], format!("{service}.toml"));
        let files = items(&kustomization["secretGenerator"][0]["files"]).iter().map(text);
        let files: Vec<&str> = files.filter_map(|file| file.strip_prefix("secrets/")).collect();
        let notes = check_config(service, &settings, &files).await;
        let (examples, others): (Vec<_>, Vec<_>) = notes.iter().partition(|note| is_example_range(note));
        assert!(examples.len() == 1 && others.iter().all(|note| is_admin_of_pod(note)), "{notes:?}");

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
    let pod = |file: &str, kind: &str| of_kind(&yaml(file), kind)["spec"]["template"]["spec"].clone();
    let job = pod("kubernetes/identity/migrate.yaml", "Job");
    let server = pod("kubernetes/identity/identity.yaml", "Deployment");
    assert_eq!(job["containers"][0]["args"][0], "migrate");
    assert_eq!(job["volumes"], server["volumes"]);
    assert_eq!(job["containers"][0]["volumeMounts"], server["containers"][0]["volumeMounts"]);
    assert_eq!(job["containers"][0]["image"], server["containers"][0]["image"]);
}

#[tokio::test]
async fn the_compose_file_mounts_the_files_that_the_settings_name() {
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
        assert!(
            notes.iter().all(|note| {
                let is_of_evaluation = ["public_base_url is http", "[registration] allow_servers is empty"];
                is_of_evaluation.iter().any(|text| note.contains(text))
                    || is_example_range(note)
                    || is_admin_of_pod(note)
            }),
            "{notes:?}"
        );

        let port = text(&described["ports"][0]).rsplit(':').next().and_then(|port| port.parse::<u64>().ok());
        assert!(listens(&settings, &Value::from(port.expect("a port"))), "{service}");
        let check = items(&described["healthcheck"]["test"]).iter().map(text).collect::<Vec<_>>().join(" ");
        let port =
            check.split("/dev/tcp/127.0.0.1/").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(listens(&settings, &Value::from(port.expect("a port"))), "{check}");
    }
}

#[test]
fn systemd_accepts_the_units_and_confines_them() {
    let folder = new_folder();
    for service in SERVICES {
        // systemd-analyze checks that the program of the unit exists.
        let installed = format!("/usr/local/bin/{service}");
        let unit = read(&format!("systemd/{service}.service"));
        assert!(unit.contains(&installed), "{service}");
        let path = folder.path().join(format!("{service}.service"));
        std::fs::write(&path, unit.replace(&installed, &executable(service).display().to_string()))
            .expect("the folder takes files");
        let verified = tool("systemd-analyze", &[&"verify", &"--man=no", &path]);
        // systemd-analyze prints warnings for unknown keys but succeeds.
        let complaints = verified.unwrap_or_default();
        assert!(!complaints.contains(&format!("{service}.service:")), "{complaints}");
        tool("systemd-analyze", &[&"security", &"--offline=true", &"--no-pager", &EXPOSURE, &path]);
    }
}

#[test]
fn the_manifests_match_the_schemas_of_kubernetes() {
    let written = SERVICES.map(|service| deploy(&format!("kubernetes/{service}/{service}.yaml")));
    let job = deploy("kubernetes/identity/migrate.yaml");
    tool("kubernetes-validate", &[&"--strict", &"--quiet", &written[0], &written[1], &job]);

    // As kustomize renders them, with placeholder files for the secrets.
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
fn the_compose_file_and_the_dockerfile_pass_their_linters() {
    tool("check-jsonschema", &[&"--builtin-schema", &"vendor.compose-spec", &deploy("compose.yaml")]);
    tool("hadolint", &[&deploy("Dockerfile")]);
}

#[test]
fn the_alerts_fire_on_an_attack_and_not_on_a_usual_day() {
    tool("promtool", &[&"check", &"rules", &deploy("prometheus/identity-sms.rules.yml")]);
    tool("promtool", &[&"test", &"rules", &deploy("prometheus/identity-sms.test.yml")]);
}
