//! The language of mails and pages, and the operator's name in them.
//!
//! Invariant: the parameter `lang` has precedence over Accept-Language, and that over the operator's default.

use harness::world::identity::{DEADLINE, Settings, World, v2};

use super::request;

/// Each language as clients ask for it, its tag, and words of its subject and of its page.
const LANGUAGES: [(&str, &str, &str, &str); 14] = [
    ("en-GB", "en", "Confirm your email address", "Is this you?"),
    ("ar", "ar", "عنوان بريدك", "هل هذا أنت؟"),
    ("cs-CZ", "cs", "Potvrďte svou e-mailovou adresu", "Jste to vy?"),
    ("de-AT", "de", "Bestätigen Sie Ihre E-Mail-Adresse", "Sind Sie das?"),
    ("es-MX", "es", "Confirme su dirección de correo", "¿Es usted?"),
    ("fr-CA", "fr", "Confirmez votre adresse e-mail", "Est-ce bien vous"),
    ("it", "it", "Confermi il suo indirizzo e-mail", "La richiesta è sua?"),
    ("ja-JP", "ja", "メールアドレスを確認してください", "ご本人ですか？"),
    ("nl-BE", "nl", "Bevestig uw e-mailadres", "Bent u dit?"),
    ("pl", "pl", "Potwierdź swój adres e-mail", "Czy to Ty?"),
    ("pt-BR", "pt-BR", "Confirme seu endereço de e-mail", "É você?"),
    ("sv-SE", "sv", "Bekräfta din e-postadress", "Är det du?"),
    ("uk", "uk", "Підтвердьте свою електронну адресу", "Це ви?"),
    ("zh-CN", "zh-Hans", "请确认您用于 Matrix 的电子邮件地址", "是您本人吗？"),
];

#[tokio::test(flavor = "multi_thread")]
async fn mail_and_page_have_the_language_of_the_request() {
    let world = World::with(Settings { tables: "[limits]\nenabled = false", ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    for (n, (asked, tag, subject, title)) in LANGUAGES.into_iter().enumerate() {
        let address = format!("b{n}@example.com");
        let call = world.api.post(&v2("/validate/email/requestToken"), request("s", &address)).bearer(&bob);
        // Half of the requests use the parameter, against a header that names another language.
        let call = match n % 2 {
            0 => call.header("accept-language", &format!("tlh, {asked};q=0.9, en;q=0.1")),
            _ => call.query("lang", asked).header("accept-language", "fi, en"),
        };
        call.send().await.expect(200);
        let mail = world.mail.wait_for(&address, 1, DEADLINE).await.message();
        assert!(mail.header("subject").is_some_and(|found| found.contains(subject)), "{asked}: {mail:#?}");
        assert_eq!(mail.header("content-language"), Some(tag));
        let direction = if tag == "ar" { "rtl" } else { "ltr" };
        let start = format!("<html lang=\"{tag}\" dir=\"{direction}\">");
        assert!(mail.html().contains(&start), "{mail:#?}");

        let link = mail.validation_link();
        let target = &link[url::Position::BeforePath..];
        let page = world.api.get(target).header("accept-language", asked).send().await;
        assert_eq!(page.code(), 200, "{page}");
        assert!(page.text().contains(&start) && page.text().contains(title), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_named_and_chooses_the_default_language() {
    let server = "operator = \"Beispiel\"\nhelp_url = \"https://beispiel.example/hilfe\"\n\
                  privacy_url = \"https://beispiel.example/datenschutz\"";
    let tables = "[templates]\ndefault_language = \"de\"";
    let world = World::with(Settings { server, tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    world.ask(&bob, request("s", super::BOB)).await.expect(200);
    let mail = world.mail.wait_for(super::BOB, 1, DEADLINE).await.message();
    assert_eq!(mail.header("subject"), Some("Bestätigen Sie Ihre E-Mail-Adresse für Matrix – Beispiel"));
    let link = mail.validation_link();
    let page = world.api.get(&link[url::Position::BeforePath..]).send().await.text();
    let failed = world.api.get(&v2("/validate/email/submitToken")).header("accept-language", "ja").send().await.text();
    for text in [mail.text(), mail.html(), &page, &failed] {
        for expected in
            ["Beispiel", "Gatehouse", "https://beispiel.example/hilfe", "https://beispiel.example/datenschutz"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
    assert!(failed.contains("<html lang=\"ja\"") && page.contains("<html lang=\"de\""));
}
