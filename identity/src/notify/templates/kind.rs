//! The kinds of templates: their files, their built-in text, and the variables that each of them may name.
//!
//! Invariant: a further kind is a row here and its built-in file.

use super::syntax::Syntax;

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TemplateKind {
    /// The mail that validates an address.
    VerificationMail,
    /// The mail that invites into a room.
    InviteMail,
    /// The mail that reports the end of an association.
    MigrationMail,
    /// The SMS that validates a number.
    Sms,
    /// The page of `submitToken`.
    Page,
}

/// The properties of a kind.
pub(super) struct Row {
    pub(super) kind: TemplateKind,
    pub(super) name: &'static str,
    /// The file names of the operator's template; the first that exists wins.
    pub(super) files: &'static [(&'static str, Syntax)],
    /// The server's own template, in Jinja. That of a mail is a whole message.
    built_in: &'static str,
    /// The names of the values, without [`COMMON`].
    variables: &'static str,
}

/// The names of the values that every kind has: the language and its direction, and who runs the server.
const COMMON: &str = "lang dir operator host service help_url privacy_url";
/// The names of the values that every mail has besides.
const MAIL: &str = "date from to messageid multipart_boundary subject_header_value";

pub(super) const ROWS: [Row; 5] = [
    Row {
        kind: TemplateKind::VerificationMail,
        name: "verification",
        files: &[("verification_template.eml.j2", Syntax::Jinja), ("verification_template.eml", Syntax::Percent)],
        built_in: include_str!("../../../templates/verification_template.eml.j2"),
        variables: "link token ipaddress mxid masked_address duration",
    },
    Row {
        kind: TemplateKind::InviteMail,
        name: "invite",
        files: &[("invite_template.eml.j2", Syntax::Jinja), ("invite_template.eml", Syntax::Percent)],
        built_in: include_str!("../../../templates/invite_template.eml.j2"),
        variables: "link token ephemeral_private_key signurl web_client_location web_client_host public_base_url \
            register_url address masked_address medium room_id room_alias room_avatar_url room_join_rules room_name \
            bracketed_room_name room_type inviter sender bracketed_verified_sender sender_avatar_url sender_display_name \
            guest_user_id guest_access_token duration block_url",
    },
    Row {
        kind: TemplateKind::MigrationMail,
        name: "migration",
        files: &[("migration_template.eml.j2", Syntax::Jinja), ("migration_template.eml", Syntax::Percent)],
        built_in: include_str!("../../../templates/migration_template.eml.j2"),
        variables: "mxid new_mxid masked_address",
    },
    Row {
        kind: TemplateKind::Sms,
        name: "sms",
        files: &[("verification_template.sms.j2", Syntax::JinjaText), ("verification_template.sms", Syntax::Percent)],
        built_in: include_str!("../../../templates/verification_template.sms.j2"),
        variables: "token",
    },
    Row {
        kind: TemplateKind::Page,
        name: "page",
        files: &[("verify_response_template.html", Syntax::PercentHtml)],
        built_in: include_str!("../../../templates/page.html.j2"),
        variables: "message",
    },
];

impl TemplateKind {
    /// Values of which a template needs at least one.
    pub(super) fn purpose(self) -> &'static [&'static str] {
        match self {
            Self::VerificationMail => &["link", "token"],
            Self::InviteMail => &["link", "signurl", "ephemeral_private_key"],
            Self::Page => &["message"],
            // An SMS without its token is an error.
            Self::MigrationMail | Self::Sms => &[],
        }
    }

    /// Every kind.
    pub const ALL: [Self; 5] = [Self::VerificationMail, Self::InviteMail, Self::MigrationMail, Self::Sms, Self::Page];

    /// The name in errors and on the command line.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The names of the files of an operator's template; the first that exists wins.
    pub fn file_names(self) -> Vec<&'static str> {
        self.row().files.iter().map(|(name, _)| *name).collect()
    }

    /// The name and the text of a file with the built-in template, for an operator to change. The page is an example,
    /// because the operator's page has another syntax than the built-in one.
    pub fn export(self) -> (&'static str, &'static str) {
        match self {
            Self::Page => {
                ("verify_response_template.html", include_str!("../../../templates/verify_response_template.html"))
            }
            Self::VerificationMail | Self::InviteMail | Self::MigrationMail | Self::Sms => {
                (self.row().files[0].0, self.built_in())
            }
        }
    }

    pub(super) fn built_in(self) -> &'static str {
        self.row().built_in
    }

    /// The names of the values that a template of this kind may use.
    pub fn variables(self) -> impl Iterator<Item = &'static str> {
        let mail = match self {
            Self::VerificationMail | Self::InviteMail | Self::MigrationMail => MAIL,
            Self::Sms | Self::Page => "",
        };
        [self.row().variables, mail, COMMON].into_iter().flat_map(str::split_whitespace)
    }

    fn row(self) -> &'static Row {
        let found = ROWS.iter().find(|row| row.kind == self);
        // A test finds every kind.
        found.unwrap_or(&ROWS[0])
    }
}
