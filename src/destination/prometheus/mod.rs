//! The Prometheus that reads a folder: its process, its API, its tools, and how it is made to read what is new.

pub mod api;
mod command_line;
pub mod http_config;
pub mod process;
pub mod promtool;
pub mod reader;
pub mod reload;
mod restart;
pub mod sockets;
pub mod starter;
