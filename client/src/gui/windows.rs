//! Many windows on one machine: a process each, as the original did.

use std::process::{Child, Command, Stdio};

use crate::cli::Settings;
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
pub(crate) fn open(settings: &Settings, count: u32) -> Result<(), ClientError> {
    if count > MAX_WINDOWS {
        return Err(ClientError::Usage(format!(
            "{count} windows are too many: at most {MAX_WINDOWS}, or leave out --windows"
        )));
    }
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let base = settings.name.as_deref().unwrap_or("window");
    let mut children = Vec::new();
    for number in 1..=count {
        let mut command = Command::new(&program);
        command
            .args(arguments(settings, &format!("{base}{number}")))
            .stdin(Stdio::null());
        children.push(command.spawn().map_err(system("open a window"))?);
    }
    wait(children)
}

fn arguments(settings: &Settings, name: &str) -> Vec<String> {
    let mut all = vec![
        "gui".to_owned(),
        "--forget".to_owned(),
        "--server".to_owned(),
        settings.server.to_string(),
        "--name".to_owned(),
        name.to_owned(),
    ];
    if settings.plaintext {
        all.push("--plaintext".to_owned());
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
