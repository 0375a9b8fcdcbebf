//! Every page and every mail as people see them: in a browser on a phone and on a desktop, light and dark, from left to
//! right and from right to left. And the operator's commands for templates.
//!
//! Invariant: the pages are those of `identity templates preview`, which render as those of the server do.

use std::path::Path;
use std::process::Output;

use harness::axe::Axe;
use harness::binary;
use harness::browser::Browser;
use harness::options;
use harness::process::{new_folder, run};
use serde_json::json;

const CONFIG: &str = "[server]\ndata_dir = \"data\"\npublic_base_url = \"https://id.example.org\"\n\
    operator = \"Example Chat\"\nhelp_url = \"https://example.org/help\"\nprivacy_url = \"https://example.org/privacy\"\n\
    [invites]\nexpire_after = \"30d\"\n";
/// English, a language with long words, and one from right to left.
const LANGUAGES: [&str; 3] = ["en", "de", "ar"];
/// Width, height, and whether it is a phone.
const DEVICES: [(&str, u32, u32, bool); 2] = [("phone", 360, 740, true), ("desktop", 1280, 800, false)];
const SCHEMES: [&str; 2] = ["light", "dark"];

async fn templates(folder: &Path, arguments: &[&str]) -> Output {
    std::fs::write(folder.join("config.toml"), CONFIG).expect("the folder takes files");
    run(binary::identity(), folder, &[&["templates"], arguments].concat(), &[]).await
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text").lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_mail_is_accessible_and_fits_its_screen() {
    let (Some(mut chromium), Some(axe)) = (Browser::start(), Axe::find()) else { return };
    let folder = new_folder();
    let page = chromium.open("about:blank");
    let mut seen = 0;
    for language in LANGUAGES {
        let written = lines(&templates(folder.path(), &["preview", "--out", ".", "--lang", language]).await);
        for file in written.iter().filter(|file| file.ends_with(".html")) {
            for (device, width, height, is_phone) in DEVICES {
                let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
                chromium.page_command(&page, "Emulation.setDeviceMetricsOverride", size);
                for scheme in SCHEMES {
                    let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
                    chromium.page_command(&page, "Emulation.setEmulatedMedia", features);
                    chromium.navigate(&page, &format!("file://{}", folder.path().join(file).display()));
                    let what = format!("{file} on a {device}, {scheme}");
                    if let Some(screenshots) = options::screenshots() {
                        let name = Path::new(file).file_stem().expect("a name").to_string_lossy().into_owned();
                        let image = screenshots.join(format!("{name}.{device}.{scheme}.png"));
                        std::fs::write(image, chromium.screenshot(&page)).expect("the folder takes files");
                    }
                    assert_eq!(axe.violations(&mut chromium, &page), Vec::<String>::new(), "{what}");
                    let overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
                    assert_eq!(chromium.evaluate(&page, overflow), json!(false), "{what} scrolls sideways");
                    let direction = if language == "ar" { "rtl" } else { "ltr" };
                    let computed = "getComputedStyle(document.querySelector('main')).direction";
                    assert_eq!(chromium.evaluate(&page, computed), json!(direction), "{what}");
                    seen += 1;
                }
            }
        }
    }
    // Nine pages and six mails.
    assert_eq!(seen, 15 * LANGUAGES.len() * DEVICES.len() * SCHEMES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_listed_exported_checked_and_previewed() {
    let folder = new_folder();
    let listed = lines(&templates(folder.path(), &["list"]).await).join("\n");
    for text in ["verification", "verification_template.eml.j2", "masked_address", "block_url", "built-in"] {
        assert!(listed.contains(text), "{text}: {listed}");
    }
    let exported = lines(&templates(folder.path(), &["export", "own", "--brand", "acme"]).await);
    assert_eq!(exported.len(), 5, "{exported:?}");
    let again = templates(folder.path(), &["export", "own", "--brand", "acme"]).await;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("exists"), "{again:?}");

    let environment = [
        ("IDENTITY__TEMPLATES__DIR".to_owned(), "own".to_owned()),
        ("IDENTITY__TEMPLATES__DEFAULT_BRAND".to_owned(), "acme".to_owned()),
    ];
    let with_own = async |arguments: &[&str]| {
        run(binary::identity(), folder.path(), &[&["templates"], arguments].concat(), &environment).await
    };
    assert_eq!(lines(&with_own(&["check"]).await), ["5 templates are good"]);
    assert!(lines(&with_own(&["list"]).await).iter().any(|line| line.contains("own/acme/invite_template.eml.j2")));

    // An exported template keeps all languages, and shows the operator's change.
    let invite = folder.path().join("own/acme/invite_template.eml.j2");
    let text = std::fs::read_to_string(&invite).expect("an exported file");
    std::fs::write(&invite, text.replace("<main>", "<main><p>Our own words</p>")).expect("the file is the operator's");
    let files = lines(&with_own(&["preview", "invite", "--lang", "fr", "--out", "shown"]).await);
    assert_eq!(files, ["shown/invite.fr.eml", "shown/invite.fr.html"]);
    let html = std::fs::read_to_string(folder.path().join(&files[1])).expect("a preview");
    assert!(html.contains("Our own words") && html.contains("vous invite dans le salon"), "{html}");

    // Each mistake is named, and the command fails.
    let own = |name: &str, text: &str| std::fs::write(folder.path().join("own/acme").join(name), text).expect("a file");
    own("invite_template.eml.j2", "Come {{ room_nmae }}");
    own("verification.eml", "x");
    own("verification_template.eml.j2", "{{ text(\"verification-title\") }}");
    let checked = with_own(&["check"]).await;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    for text in [
        "no value has the name room_nmae",
        "invited person cannot join",
        "verification.eml: not used",
        "no address can be validated",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    own("verification_template.eml.j2", "{{ link }}\n{{ text(\"nosuch\") }}");
    let broken = with_own(&["check"]).await;
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(
        !broken.status.success() && said.contains("verification_template.eml.j2: line 2: there is no text"),
        "{said}"
    );
    let unknown = templates(folder.path(), &["preview", "nosuch"]).await;
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("page-confirm"), "{unknown:?}");
}
