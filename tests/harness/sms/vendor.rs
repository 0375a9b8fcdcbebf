//! Which vendors there are, and what each of them is asked.
//!
//! Invariant: all of them answer the same four questions; what one of them knows stands in its own file.

use super::exchange::Judgement;
use super::{generic, infobip, openmarket, sns, twilio, vonage};
use crate::fake::{Reply, Request};

/// Whose gateway it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Twilio Programmable Messaging.
    Twilio,
    /// The SMS API of Vonage, formerly Nexmo.
    Vonage,
    /// OpenMarket's HTTP Global SMS API, version 4.
    OpenMarket,
    /// Infobip's SMS API, versions 2 and 3.
    Infobip,
    /// Amazon Simple Notification Service.
    Sns,
    /// A gateway without documentation, which accepts everything. For the template provider.
    Generic,
}

impl Vendor {
    pub(super) fn config(self, base: &str) -> String {
        match self {
            Self::Twilio => twilio::config(base),
            Self::Vonage => vonage::config(base),
            Self::OpenMarket => openmarket::config(base),
            Self::Infobip => infobip::config(base),
            Self::Sns => sns::config(base),
            Self::Generic => generic::config(base),
        }
    }

    /// Whether it takes the message. What is not forbidden so strictly that it refuses the message goes to `complaints`.
    pub(super) fn judge(self, request: &Request, base: &str, complaints: &mut Vec<String>) -> Judgement {
        match self {
            Self::Twilio => twilio::judge(request, complaints),
            Self::Vonage => vonage::judge(request, complaints),
            Self::OpenMarket => openmarket::judge(request, base, complaints),
            Self::Infobip => infobip::judge(request, complaints),
            Self::Sns => sns::judge(request, complaints),
            Self::Generic => Ok(generic::judge(request)),
        }
    }

    /// Its own error of that name or number.
    pub(super) fn error(self, code: &str) -> Option<Reply> {
        match self {
            Self::Twilio => twilio::error(code),
            Self::Vonage => vonage::error(code),
            Self::OpenMarket => openmarket::error(code),
            Self::Infobip => infobip::error(code),
            Self::Sns => sns::error(code),
            Self::Generic => Some(generic::error(code)),
        }
    }

    /// This status, with the body that it usually has.
    pub(super) fn status(self, status: u16) -> Reply {
        match self {
            Self::Twilio => twilio::status(status),
            Self::Vonage => vonage::status(status),
            Self::OpenMarket => openmarket::status(status),
            Self::Infobip => infobip::status(status),
            Self::Sns => sns::status(status),
            Self::Generic => generic::status(status),
        }
    }
}
