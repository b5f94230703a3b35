//! Many windows on one machine: a process each, as the original did.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};

use crate::cli::args::Common;
use crate::exit_code::ClientError;

/// Most windows at once; each is a process.
const MAX_WINDOWS: u32 = 64;

fn system(action: &'static str) -> impl Fn(std::io::Error) -> ClientError {
    move |source| ClientError::System { action, source }
}

/// Opens so many windows and waits until all are closed.
///
/// # Errors
/// A process cannot be started, or too many are asked for.
pub(crate) fn open(common: &Common, count: u32) -> Result<(), ClientError> {
    if count > MAX_WINDOWS {
        return Err(ClientError::Usage(format!(
            "{count} windows are too many: at most {MAX_WINDOWS}, or leave out --windows"
        )));
    }
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let base = common.name.as_deref().unwrap_or("window");
    let mut children = Vec::new();
    for number in 1..=count {
        let mut command = Command::new(&program);
        command
            .args(arguments(common, &format!("{base}{number}")))
            .stdin(Stdio::null());
        children.push(command.spawn().map_err(system("open a window"))?);
    }
    wait(children)
}

/// The same options again, but each window with a name of its own. Environment and settings file are
/// the children's, too.
fn arguments(common: &Common, name: &str) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["gui", "--forget", "--name", name]
        .map(OsString::from)
        .into();
    let server = common.server.as_deref().unwrap_or("localhost");
    all.extend(["--server", server].map(OsString::from));
    let paths = [
        ("--password-file", &common.password_file),
        ("--state", &common.state),
        ("--config", &common.config),
    ];
    for (option, path) in paths {
        if let Some(path) = path {
            all.extend([option.into(), path.clone().into_os_string()]);
        }
    }
    if let Some(fingerprint) = &common.fingerprint {
        all.extend(["--fingerprint", fingerprint].map(OsString::from));
    }
    if common.plaintext {
        all.push("--plaintext".into());
    }
    all
}

fn wait(children: Vec<Child>) -> Result<(), ClientError> {
    let total = children.len();
    let mut failed = 0;
    for mut child in children {
        let status = child.wait().map_err(system("wait for a window"))?;
        failed += usize::from(!status.success());
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(ClientError::Server(format!(
            "{failed} of {total} windows did not end well"
        )))
    }
}
