//! The shim's share of the escape suite (F24, S4-IMP-29): system calls, sockets, terminals. Each attempt is a real
//! system call by number, made with perl, which every Debian has.

use millrace_sandbox::{Config, Exit};
use tokio_util::sync::CancellationToken;

use crate::support::{Workspace, config, run, sandbox_with, text};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;

/// The error number of one system call; 0 when it succeeded.
async fn errno(call: &str) -> i32 {
    let workspace = Workspace::new();
    let script = format!("$!=0; my $r = syscall({call}); print $r == -1 ? $!+0 : 0;");
    let finished = run(&workspace.spec(&format!("perl -e '{script}'"))).await;
    assert_eq!(finished.exit, Exit::Code(0), "{call}: {}", text(&finished));
    text(&finished).trim().parse().unwrap_or_else(|_| panic!("{call}: {}", text(&finished)))
}

/// Calls that must fail with EPERM whatever they are given; with these arguments an unfiltered kernel answers
/// something else, so that a filter that is gone is noticed.
#[cfg(target_arch = "x86_64")]
const DENIED: &[(&str, &str)] = &[
    ("ptrace: let the parent trace me", "101, 0, 0, 0, 0"),
    ("process_vm_readv", "310, 1, 0, 0, 0, 0, 0"),
    ("unshare of nothing", "272, 0"),
    ("setns of no descriptor", "308, -1, 0"),
    ("bpf", "321, 9999, 0, 0"),
    ("perf_event_open", "298, 0, 0, -1, -1, 0"),
    ("userfaultfd", "323, 1"),
    ("keyctl: the session's keyring", "250, 0, -3, 0"),
    ("add_key", "248, 0, 0, 0, 0, 0"),
    ("open_by_handle_at", "304, -1, 0, 0"),
    ("pidfd_getfd", "438, -1, 0, 0"),
    ("fsopen", "430, 0, 0"),
    ("open_tree", "428, -1, 0, 0"),
    ("mount_setattr", "442, -1, 0, 0, 0, 0"),
    ("quotactl", "179, 9999, 0, 0, 0"),
    ("kcmp", "312, 1, 1, 9999, 0, 0"),
    ("clone with a new user namespace", "56, 0x10000000 | 17, 0, 0, 0, 0"),
    ("the first bit of an ioctl that types into a terminal", "16, 99, 0x5412, 0"),
];

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn f24_s4_imp_29_system_calls_that_reach_beyond_are_denied() {
    for (what, call) in DENIED {
        assert_eq!(errno(call).await, EPERM, "{what}");
    }
    // io_uring would do calls that no filter sees; clone3 hides its flags.
    assert_eq!(errno("425, 1, 0").await, ENOSYS, "io_uring_setup");
    assert_eq!(errno("435, 0, 0").await, ENOSYS, "clone3");
    // The same by their second numbers.
    assert_eq!(errno("0x40000000 | 272, 0").await, EPERM, "unshare of x32");
    // And what is not denied still works: getpid fails never.
    assert_eq!(errno("39").await, 0);
}

#[tokio::test]
async fn f24_s4_imp_29_only_unix_sockets_can_be_made() {
    let workspace = Workspace::new();
    let make = |family: &str, kind: &str| {
        format!("use Socket; socket(my $s, {family}, {kind}, 0) or do {{ print $!+0; exit }}; print 0")
    };
    for (family, kind, expected) in [
        ("AF_INET", "SOCK_STREAM", EAFNOSUPPORT),
        ("AF_INET", "SOCK_DGRAM", EAFNOSUPPORT),
        ("AF_INET6", "SOCK_STREAM", EAFNOSUPPORT),
        ("16", "SOCK_RAW", EAFNOSUPPORT),    // netlink
        ("17", "SOCK_RAW", EAFNOSUPPORT),    // packet
        ("40", "SOCK_STREAM", EAFNOSUPPORT), // vsock
        ("AF_UNIX", "SOCK_STREAM", 0),
    ] {
        let finished = run(&workspace.spec(&format!("perl -e '{}'", make(family, kind)))).await;
        assert_eq!(text(&finished), expected.to_string(), "{family} {kind}");
    }
}

#[tokio::test]
async fn a_loopback_of_its_own_can_be_allowed_and_reaches_nothing_else() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let sandbox = sandbox_with(Config { loopback: true, ..config() }).await;
    let workspace = Workspace::new();
    let command = format!(
        "python3 -c '
import socket
own = socket.create_server((\"127.0.0.1\", 0))
socket.create_connection(own.getsockname()).close()
print(\"own works\")
for target in [(\"127.0.0.1\", {port}), (\"192.0.2.1\", 80)]:
    try: socket.create_connection(target, 2); print(\"reached\")
    except OSError: pass
try: socket.socket(16, socket.SOCK_RAW); print(\"netlink\")
except OSError: pass
'"
    );
    let finished = sandbox.run(&workspace.spec(&command), &CancellationToken::new()).await.unwrap();
    assert_eq!(text(&finished), "own works\n");
    assert!(listener.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn s4_imp_29_landlock_denies_writes_that_a_mount_would_allow() {
    // `/proc` is mounted writable: only Landlock stands between a process and its own settings.
    let workspace = Workspace::new();
    let command = "(echo renamed > /proc/self/comm) && echo wrote; \
        : > /tmp/x && : > /dev/null && : > /workspace/y && echo works";
    let finished = run(&workspace.spec(command)).await;
    assert!(text(&finished).contains("works") && !text(&finished).contains("wrote"), "{}", text(&finished));
}

#[tokio::test]
async fn f24_set_user_id_programs_gain_nothing() {
    let workspace = Workspace::new();
    let command = "find /usr/bin -perm -4000 | head -3; id -u; su -c id root </dev/null; \
        cp /usr/bin/id own; chmod 4755 own; ./own -u";
    let finished = run(&workspace.spec(command)).await;
    assert!(!text(&finished).contains("uid=0"), "{}", text(&finished));
    assert!(text(&finished).ends_with("1000\n"), "{}", text(&finished));
}

/// A session of its own without a controlling terminal: there is nothing to type into.
#[tokio::test]
async fn f24_no_terminal_is_in_reach() {
    let workspace = Workspace::new();
    let command = "( : < /dev/tty ) 2>/dev/null && echo terminal; ls /dev/pts; \
        perl -e 'syscall(16, 0, 0x5412, $x=\"a\") == 0 and print \"typed\"'; ps -o sid= -p $$ 2>/dev/null; echo end";
    let finished = run(&workspace.spec(command)).await;
    let seen = text(&finished);
    assert!(seen.ends_with("end\n") && !seen.contains("terminal") && !seen.contains("typed"), "{seen}");
}
