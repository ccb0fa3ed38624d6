//! The program `sig-server`: what it prints and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn sig_server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sig-server"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command
}

/// Runs one that is to end by itself.
fn run(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(5) {
            child.kill().unwrap();
            panic!("it still runs after 5 s");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn fails_with(command: Command, expected: &str) {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it ended well");
    assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
}

/// The address that it says it listens on.
fn address(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let (_, rest) = line.split_once("ws://").unwrap_or_else(|| panic!("{line:?}"));
    rest.trim().split('"').next().unwrap_or_default().to_owned()
}

#[test]
fn a_busy_port_is_one_clear_line() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    fails_with(sig_server(&["--listen", &taken]), &format!("sig-server: cannot listen on {taken}: address in use"));
}

#[test]
fn a_bad_line_of_the_file_is_named() {
    let file = std::env::temp_dir().join(format!("atoll-sig-server-{}.toml", std::process::id()));
    std::fs::write(&file, "burst = 3\n\nidle = \"long\"\n").unwrap();
    let name = file.to_str().unwrap();
    fails_with(sig_server(&["--config", name]), &format!("{name}, line 3: invalid type"));
    std::fs::remove_file(&file).unwrap();
    fails_with(sig_server(&["--config", name]), "cannot read");
}

#[test]
fn settings_that_cannot_work_are_named() {
    fails_with(sig_server(&["--idle", "3"]), "idle must be longer than twice ping-every");
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let file = std::env::temp_dir().join(format!("atoll-sig-server-order-{}.toml", std::process::id()));
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\ndht = true\nidle = 1\n").unwrap();
    // The file alone cannot work (idle), nor with the variable alone (an address that is not ours).
    let mut command = sig_server(&["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0", "--json"]);
    command.env("ATOLL_IDLE", "100").env("ATOLL_LISTEN", "192.0.2.1:1");
    let mut child = command.spawn().unwrap();
    let address = address(&mut child);
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /dht?network=a HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(answer.contains("404"), "the file's dht = true counts, so an unknown network is not found: {answer}");
}

#[cfg(unix)]
#[test]
fn sigterm_and_ctrl_c_end_it_well() {
    for signal in ["TERM", "INT"] {
        let mut child = sig_server(&["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let address = address(&mut child);
        let idle = std::net::TcpStream::connect(address).unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let start = Instant::now();
        let status = child.wait().unwrap();
        assert!(status.success() && start.elapsed() < Duration::from_secs(5), "{status} after {:?}", start.elapsed());
        drop(idle);
    }
}
