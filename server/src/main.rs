//! The program `columba-server`.

fn main() -> std::process::ExitCode {
    columba_server::program::main(columba_server::config::Cli::from_process())
}
