//! The push gateway as a library: what `main.rs` and the tests of this package use.
//!
//! Invariant: everything else is private.

mod apps;
mod cli;
pub mod config;
mod delivery;
mod http;
mod notification;
mod providers;
mod relay;
mod upstream;

pub use cli::run;
pub use providers::apns::Settings as ApnsSettings;
pub use providers::delivery_settings::DeliveryKeys;
pub use providers::fcm::Settings as FcmSettings;
pub use providers::http::Settings as HttpSettings;
pub use providers::huawei::Settings as HuaweiSettings;
pub use providers::webpush::Settings as EndpointSettings;
pub use relay::app::AppRelay;
