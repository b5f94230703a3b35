//! The proxy between real sockets and the link between namespaces, as a library and as a program. Everything
//! stays on the loopback or within the link, on ports of the system's choice.

mod flags;
#[cfg(target_os = "linux")]
mod ip_link;
#[cfg(target_os = "linux")]
mod ip_link_program;
mod others;
mod program;
mod repeat;
mod support;
mod tcp;
mod udp;
