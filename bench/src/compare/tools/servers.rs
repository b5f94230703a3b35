//! How each program is set up: what it is called with, and the server it needs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::os;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);
const KNOCK_INTERVAL: Duration = Duration::from_millis(20);

/// A program that is ready to copy.
pub(super) struct Setup {
    pub(super) row: &'static str,
    pub(super) settings: String,
    pub(super) encrypted: bool,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) server: Option<Server>,
}

/// A server of somebody else's; dropping it ends it.
pub(super) struct Server {
    child: Child,
}

impl Server {
    /// Starts it and waits until something listens at `port`.
    fn start(program: &Path, arguments: &[&str], port: u16, log: &Path) -> Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Self { child };
        let deadline = Instant::now() + PATIENCE;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                let words = fs::read_to_string(log).unwrap_or_default();
                bail!(
                    "{} ended at once ({status}): {}",
                    program.display(),
                    words.trim()
                );
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not listen",
                program.display()
            );
            std::thread::sleep(KNOCK_INTERVAL);
        }
        Ok(server)
    }

    /// CPU time of it and of its children that have ended.
    pub(super) fn cpu_seconds(&self) -> f64 {
        os::cpu_time_of(self.child.id()).as_secs_f64()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds a program where shells look, and where daemons are.
fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed"))
}

/// A port that nobody has now; these servers cannot choose one themselves.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path is no text")
}

fn version_of(program: &Path, flag: &str) -> String {
    let output = Command::new(program)
        .arg(flag)
        .stdin(Stdio::null())
        .output();
    let output = output.map(|output| [output.stdout, output.stderr].concat());
    let output = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    output.lines().next().unwrap_or_default().to_owned()
}

/// `rsync -a` from folder to folder: it has no network to wait for.
pub(super) fn rsync(_scratch: &Path, folder: &Path, target: &Path) -> Result<Setup> {
    let program = find("rsync").context("rsync")?;
    Ok(Setup {
        row: "rsync",
        settings: version_of(&program, "--version") + ", -a --whole-file, from folder to folder",
        encrypted: false,
        arguments: vec![
            "-a".to_owned(),
            "--whole-file".to_owned(),
            format!("{}/", text(folder)?),
            format!("{}/", text(target)?),
        ],
        program,
        server: None,
    })
}

/// As root, sshd insists on an empty folder to lock its unprivileged half up in. Distributions make it when the service
/// starts, which it need not have.
fn make_privilege_folder() -> Result<()> {
    const FOLDER: &str = "/run/sshd";
    if os::is_root() && !Path::new(FOLDER).is_dir() {
        fs::create_dir(FOLDER)?;
    }
    Ok(())
}

/// An `sshd` of our own, with keys of its own, and what clients have to be told.
struct Ssh {
    server: Server,
    version: String,
    /// `-o`, `-i` and what belongs to them.
    options: Vec<String>,
    port: u16,
}

impl Ssh {
    fn start(scratch: &Path) -> Result<Self> {
        let daemon = find("sshd")?;
        let keygen = find("ssh-keygen")?;
        make_privilege_folder().context("sshd needs /run/sshd")?;
        fs::create_dir_all(scratch)?;
        for name in ["host", "user"] {
            let status = Command::new(&keygen)
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(scratch.join(name))
                .stdin(Stdio::null())
                .status()?;
            ensure!(status.success(), "ssh-keygen ended with {status}");
        }
        let port = free_port()?;
        let config = scratch.join("sshd_config");
        let place = text(scratch)?;
        fs::write(
            &config,
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nPidFile none\nStrictModes no\n\
                 AuthorizedKeysFile {place}/user.pub\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
                 Subsystem sftp internal-sftp\n"
            ),
        )?;
        let log = scratch.join("sshd.log");
        let server = Server::start(&daemon, &["-D", "-e", "-f", text(&config)?], port, &log)?;
        let mut options = Vec::new();
        for option in [
            "UserKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=no",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options.extend(["-i".to_owned(), format!("{place}/user")]);
        options.extend(["-F", "none"].map(str::to_owned));
        Ok(Self {
            server,
            version: version_of(&find("ssh")?, "-V"),
            options,
            port,
        })
    }
}

/// `scp -r` from an `sshd` of our own.
pub(super) fn scp(scratch: &Path, folder: &Path, target: &Path) -> Result<Setup> {
    let program = find("scp").context("scp")?;
    let ssh = Ssh::start(&scratch.join("scp")).context("scp")?;
    let mut arguments: Vec<String> = ["-r", "-q", "-P"].map(str::to_owned).to_vec();
    arguments.push(ssh.port.to_string());
    arguments.extend(ssh.options);
    arguments.push(format!("127.0.0.1:{}", text(folder)?));
    arguments.push(text(target)?.to_owned());
    Ok(Setup {
        row: "scp",
        settings: ssh.version + ", scp -r over loopback",
        encrypted: true,
        program,
        arguments,
        server: Some(ssh.server),
    })
}

/// `rsync -a` over such an `sshd`.
pub(super) fn rsync_ssh(scratch: &Path, folder: &Path, target: &Path) -> Result<Setup> {
    let program = find("rsync").context("rsync over ssh")?;
    let ssh = Ssh::start(&scratch.join("rsync")).context("rsync over ssh")?;
    let shell = format!("ssh -p {} {}", ssh.port, ssh.options.join(" "));
    let mut arguments: Vec<String> = ["-a", "--whole-file", "-e"].map(str::to_owned).to_vec();
    arguments.push(shell);
    arguments.push(format!("127.0.0.1:{}/", text(folder)?));
    arguments.push(format!("{}/", text(target)?));
    Ok(Setup {
        row: "rsync-ssh",
        settings: format!(
            "{}, -a --whole-file over {}",
            version_of(&program, "--version"),
            ssh.version
        ),
        encrypted: true,
        program,
        arguments,
        server: Some(ssh.server),
    })
}

/// One `curl` for all files, over connections it keeps, from an `nginx` of our own.
pub(super) fn curl(scratch: &Path, folder: &Path, _target: &Path) -> Result<Setup> {
    let program = find("curl").context("curl")?;
    let daemon = find("nginx").context("curl from nginx")?;
    let port = free_port()?;
    let place = text(scratch)?;
    let config = scratch.join("nginx.conf");
    fs::write(
        &config,
        format!(
            "daemon off; master_process off; pid {place}/nginx.pid; error_log {place}/nginx.log;\n\
             events {{ }}\n\
             http {{ access_log off; sendfile on; keepalive_requests 1000000; client_body_temp_path {place}/a; \
             proxy_temp_path {place}/b; fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
             server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
            text(folder)?
        ),
    )?;
    let server = Server::start(
        &daemon,
        &["-c", text(&config)?, "-p", place],
        port,
        &scratch.join("nginx-start.log"),
    )?;
    let list = scratch.join("urls");
    fs::write(&list, urls(folder, port)?)?;
    Ok(Setup {
        row: "curl",
        settings: format!(
            "{}; {}: HTTP/1.1 over one kept connection, one process for all files",
            version_of(&program, "--version"),
            version_of(&daemon, "-v")
        ),
        encrypted: false,
        program,
        arguments: vec![
            "-s".to_owned(),
            "-f".to_owned(),
            "-K".to_owned(),
            text(&list)?.to_owned(),
        ],
        server: Some(server),
    })
}

/// A configuration for `curl` that fetches each file below its own name.
fn urls(folder: &Path, port: u16) -> Result<String> {
    let mut list = String::new();
    for below in fs::read_dir(folder)? {
        let below = below?;
        let group = below.file_name();
        for file in fs::read_dir(below.path())? {
            let name = file?.file_name();
            let (group, name) = (group.to_string_lossy(), name.to_string_lossy());
            list += &format!("url=http://127.0.0.1:{port}/{group}/{name}\noutput={group}-{name}\n");
        }
    }
    Ok(list)
}
