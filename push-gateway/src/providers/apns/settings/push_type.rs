//! `apns-push-type`: what a push does on the device (*Sending notification requests to APNs*).

use serde::Deserialize;

/// `apns-push-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PushType {
    Alert,
    Background,
    Voip,
    Complication,
    Fileprovider,
    Mdm,
    Location,
    Liveactivity,
    Pushtotalk,
    Widgets,
    Controls,
}

impl PushType {
    /// The value of the header field.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Background => "background",
            Self::Voip => "voip",
            Self::Complication => "complication",
            Self::Fileprovider => "fileprovider",
            Self::Mdm => "mdm",
            Self::Location => "location",
            Self::Liveactivity => "liveactivity",
            Self::Pushtotalk => "pushtotalk",
            Self::Widgets => "widgets",
            Self::Controls => "controls",
        }
    }
}
