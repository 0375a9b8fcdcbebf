//! Themes that cross the listeners and commands of the push gateway: configuration reload, logs, `check-config`.

mod broken_setups;
mod check_config;
mod clock_steps;
mod connections;
mod doctor;
mod logs;
mod operators;
mod outbound_proxy;
mod reload;
