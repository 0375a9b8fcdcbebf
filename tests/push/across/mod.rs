//! Themes that cross the listeners and commands of the push gateway: configuration reload, logs, `check-config`.

mod check_config;
mod connections;
mod logs;
mod operators;
mod reload;
