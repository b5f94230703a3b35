//! The command line as typed; `settings` makes sense of it.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use columba_values::{parse_rate, parse_size, parse_time};

const ABOUT: &str = "Chat with a Columba server and download its files over bad networks";

const EXAMPLES: &str = "\
Examples:
  columba                                      opens the window
  columba -s files.example.org ls
  columba -s files.example.org get dataset.tar photos -o ~/Downloads
  columba -s files.example.org -n alice chat
  columba -s files.example.org get backup.tar -o - | tar -x

The server's key is trusted on first contact and pinned from then on; --fingerprint pins it beforehand.

Exit codes: 0 ok, 1 general, 2 usage, 3 cannot connect, 4 key, password or name refused,
5 no such file, 6 integrity, 7 local disk, 8 timed out or stalled (run again to go on),
9 some of several files failed, 130 and 143 stopped by a signal.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "columba", version, about = ABOUT, after_help = EXAMPLES)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do; without it, the window opens.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Server to connect to [default: localhost:11490]
    #[arg(
        short,
        long,
        value_name = "HOST[:PORT]",
        env = "COLUMBA_SERVER",
        global = true
    )]
    pub server: Option<String>,
    /// Name to have in the chat
    #[arg(short, long, value_name = "NAME", env = "COLUMBA_NAME", global = true)]
    pub name: Option<String>,
    /// No TLS and no encryption, only integrity against damage on the way
    #[arg(long, env = "COLUMBA_PLAINTEXT", global = true, action = ArgAction::SetTrue)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub plaintext: bool,
    /// The server's key must have this fingerprint
    #[arg(long, value_name = "FP", env = "COLUMBA_FINGERPRINT", global = true)]
    pub fingerprint: Option<String>,
    /// File whose first line is the server's password
    #[arg(
        long,
        value_name = "FILE",
        env = "COLUMBA_PASSWORD_FILE",
        global = true
    )]
    pub password_file: Option<PathBuf>,
    /// Folder with this client's key and the known servers [default: the platform's]
    #[arg(long, value_name = "DIR", env = "COLUMBA_STATE", global = true)]
    pub state: Option<PathBuf>,
    /// Settings file (TOML, the names of these options) [default: config.toml in the state folder]
    #[arg(long, value_name = "FILE", env = "COLUMBA_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Say more on standard error; twice for all
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open the window (as without any command); connects at once when it has a server and a name
    Gui(Gui),
    /// Download files and folders; goes on where an earlier run stopped
    Get(Get),
    /// List the files that the server shares
    Ls(Ls),
    /// List who is in the chat
    Users(Json),
    /// Join the chat: lines typed are messages and commands
    Chat(Json),
    /// Send one message to everybody
    Say(Say),
    /// Send one message to one user
    Whisper(Whisper),
    /// Show the server's counters and latencies
    Stats(Json),
    /// Run many clients at once and measure the chat's latency
    Swarm(Swarm),
    /// Show or move this client's own key
    #[command(subcommand)]
    Key(Key),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// `columba gui`
#[derive(Debug, Default, Args)]
pub struct Gui {
    /// Remember nothing: neither size nor servers
    #[arg(long, hide = true)]
    pub forget: bool,
    /// Folder that downloads go to [default: the one chosen in the window]
    #[arg(long, value_name = "DIR")]
    pub downloads: Option<PathBuf>,
}

/// `columba get`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  columba get big.iso                     into the current folder
  columba get photos notes.txt -o stuff   a whole folder and a file, below stuff/
  columba get big.iso --limit-rate 20mbit --policy low
  columba get log.txt -o -                to standard output")]
pub struct Get {
    /// Names as `columba ls` shows them; a folder's name fetches its tree
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Target file, or folder when several come; `-` writes one file to standard output
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Files larger than 1 MiB that come at the same time
    #[arg(
        short,
        long,
        value_name = "N",
        env = "COLUMBA_JOBS",
        default_value_t = 8
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: u32,
    /// One line of JSON for each file on standard output
    #[arg(long)]
    pub json: bool,
    /// No progress bars
    #[arg(long, env = "COLUMBA_NO_PROGRESS", action = ArgAction::SetTrue)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub no_progress: bool,
    /// Replace files that exist
    #[arg(long, group = "existing")]
    pub overwrite: bool,
    /// Keep files that exist and give the new ones a number
    #[arg(long, group = "existing")]
    pub rename: bool,
    /// Leave out files that exist
    #[arg(long, group = "existing")]
    pub skip: bool,
    /// How to share the path with others
    #[arg(long, value_enum, default_value = "fair", env = "COLUMBA_POLICY")]
    pub policy: SharePolicy,
    /// Most that all files together take, like 100mbit
    #[arg(long, value_name = "RATE", env = "COLUMBA_LIMIT_RATE", value_parser = parse_rate)]
    pub limit_rate: Option<u64>,
    /// Largest UDP payload [default: as large as the path takes]
    #[arg(long, value_name = "BYTES", env = "COLUMBA_MAX_DATAGRAM", value_parser = parse_datagram)]
    pub max_datagram: Option<u16>,
}

/// How transfers share the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SharePolicy {
    /// An equal share
    #[default]
    Fair,
    /// What others leave
    Low,
}

/// `columba ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// Only names that start like this
    #[arg(default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// One line of JSON for each file
    #[arg(long)]
    pub json: bool,
}

/// Commands whose only option is how they print.
#[derive(Debug, Args)]
pub struct Json {
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `columba say`
#[derive(Debug, Args)]
pub struct Say {
    /// The message; several words are joined by spaces
    #[arg(required = true)]
    pub text: Vec<String>,
}

/// `columba whisper`
#[derive(Debug, Args)]
pub struct Whisper {
    /// Who shall read it
    #[arg(value_name = "NAME")]
    pub to: String,
    /// The message; several words are joined by spaces
    #[arg(required = true)]
    pub text: Vec<String>,
}

/// `columba swarm`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  columba swarm 1000 --rate 100 --seconds 30 --json

Latency counts from when a message was due, so a swarm that falls behind shows it.")]
pub struct Swarm {
    /// Number of clients
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// Messages a second of the whole swarm; 0 is idle
    #[arg(long, value_name = "MSGS_PER_S", default_value_t = 0.0, value_parser = parse_frequency)]
    pub rate: f64,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = parse_message_size)]
    pub size: u16,
    /// How long, counted from when all have joined
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_time)]
    pub seconds: std::time::Duration,
    /// Open a window for each client, until the windows are closed
    #[arg(long, conflicts_with_all = ["rate", "size", "seconds", "json"])]
    pub windows: bool,
    /// One object of JSON for each event
    #[arg(long)]
    pub json: bool,
}

/// `columba key`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Print the fingerprint of this client's key; makes the key if there is none
    Show,
    /// Print the private key, for another machine: keep it secret
    Export,
    /// Take over a private key from a file, or from standard input
    Import {
        /// The file; `-` is standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Replace the key that is there; its names stay with the old key
        #[arg(long)]
        force: bool,
    },
}

fn parse_datagram(text: &str) -> Result<u16, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    match u16::try_from(bytes) {
        Ok(bytes) if (512..=65_507).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(_) => Err("a datagram's payload has 512 to 65507 bytes".to_owned()),
    }
}

fn parse_message_size(text: &str) -> Result<u16, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    match u16::try_from(bytes) {
        Ok(bytes) if (16..=4096).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(_) => {
            Err("a message has 16 to 4096 bytes (the time it was due needs 16)".to_owned())
        }
    }
}

fn parse_frequency(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1e7).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("write a number of messages a second, like 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_options_stand_before_and_after_the_command() {
        for line in [
            "columba -s h:1 -n bob --plaintext get a b -o out -j 4 --json",
            "columba get a b -o out -j 4 --json -s h:1 -n bob --plaintext",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.common.server.as_deref(), Some("h:1"));
            assert!(cli.common.plaintext);
            let Some(Command::Get(get)) = cli.command else {
                panic!("get is get");
            };
            assert_eq!((get.files.len(), get.jobs, get.json), (2, 4, true));
        }
    }

    #[test]
    fn nonsense_is_refused_as_usage() {
        for line in [
            "columba get",
            "columba get a --overwrite --skip",
            "columba get a --limit-rate fast",
            "columba get a --max-datagram 100",
            "columba get a -j 0",
            "columba swarm 0",
            "columba swarm 3 --rate -1",
            "columba -v -q users",
            "columba dance",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
