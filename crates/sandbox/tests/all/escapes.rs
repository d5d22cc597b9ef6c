//! The escape suite (S4-IMP-29, S4-D8): each of these must fail inside the sandbox.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use millrace_sandbox::Exit;

use crate::support::{HOOK, Workspace, run, text};

#[tokio::test]
async fn s4_imp_29_no_connection_to_a_listening_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected");
    let control = std::process::Command::new("bash").args(["-c", &connect]).output().unwrap();
    assert!(control.stdout.starts_with(b"connected"), "the server answers outside");
    listener.accept().unwrap();
    let workspace = Workspace::new();
    let finished = run(&workspace.spec(&format!("bash -c '{connect}'"))).await;
    assert_ne!(finished.exit, Exit::Code(0));
    assert!(!text(&finished).contains("connected"), "{}", text(&finished));
    assert!(listener.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn s4_imp_29_no_host_sockets_of_any_kind() {
    let name = format!("millrace-escape-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    assert!(fs::read_to_string("/proc/net/unix").unwrap().contains(&name));
    let workspace = Workspace::new();
    let finished = run(&workspace.spec("cat /proc/net/unix; cut -d: -f1 /proc/net/dev; ls /run /var")).await;
    assert!(!text(&finished).contains(&name), "{}", text(&finished));
    assert!(!text(&finished).contains("eth"), "{}", text(&finished));
    assert!(text(&finished).contains("cannot access '/run'"), "{}", text(&finished));
}

#[tokio::test]
async fn s4_imp_29_git_hooks_and_config_stay_as_they_were() {
    let workspace = Workspace::new();
    let attempts = [
        "echo evil > .git/hooks/pre-commit",
        "rm -rf .git/hooks",
        "ln -s .git/hooks link && echo evil > link/pre-commit",
        "ln .git/hooks/pre-commit hard && echo evil > hard",
        "mv .git aside && mkdir -p .git/hooks && echo evil > .git/hooks/pre-commit",
        "mv .git/hooks aside",
        "chmod 777 .git/hooks/pre-commit && echo evil > .git/hooks/pre-commit",
        "cd / && mv workspace other && echo evil > other/.git/hooks/pre-commit",
        "umount .git && echo evil > .git/hooks/pre-commit",
        "mount -o remount,rw .git && echo evil > .git/hooks/pre-commit",
        "echo evil > /proc/self/cwd/.git/config",
    ];
    for attempt in attempts {
        let finished = run(&workspace.spec(attempt)).await;
        assert_ne!(finished.exit, Exit::Code(0), "{attempt}");
        let git = workspace.path().join(".git");
        assert_eq!(fs::read_to_string(git.join("hooks/pre-commit")).unwrap(), HOOK, "{attempt}");
        assert_eq!(fs::read_to_string(git.join("config")).unwrap(), "[core]\n", "{attempt}");
        assert_eq!(fs::read_dir(git.join("hooks")).unwrap().count(), 1, "{attempt}");
    }
}

#[tokio::test]
async fn s4_imp_29_nothing_outside_the_workspace_can_be_written_or_seen() {
    let workspace = Workspace::new();
    let secret = workspace.outer().join("secret");
    fs::write(&secret, "credential").unwrap();
    std::os::unix::fs::symlink(&secret, workspace.path().join("link")).unwrap();
    let command = format!(
        "for place in / /usr/ /etc/ /dev/ /proc/sys/kernel/ ../; do \
           ( : > ${{place}}escaped ) 2>/dev/null && echo wrote $place; done; \
         cat {} link /etc/shadow /root/.ssh/id_rsa ~/.gitconfig 2>/dev/null; \
         echo changed > link; ls /home /root /work 2>/dev/null; echo end",
        secret.display()
    );
    let finished = run(&workspace.spec(&command)).await;
    let seen = text(&finished);
    assert!(seen.ends_with("end\n"), "{seen}");
    assert!(!seen.contains("wrote") && !seen.contains("credential"), "{seen}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "credential");
}

#[tokio::test]
async fn s4_imp_29_only_its_own_processes_are_in_proc() {
    let workspace = Workspace::new();
    let host = std::process::id();
    let command = format!(
        "ls -d /proc/[0-9]* | wc -l; cat /proc/{host}/environ /proc/1/environ; \
         kill -9 {host} && echo killed; true"
    );
    let finished = run(&workspace.spec(&command)).await;
    let seen = text(&finished);
    let count: usize = seen.lines().next().unwrap().trim().parse().unwrap();
    assert!(count <= 6, "{seen}");
    assert!(!seen.contains("killed") && !seen.contains("CARGO"), "{seen}");
}

#[tokio::test]
async fn s4_imp_29_no_privilege_can_be_gained() {
    let workspace = Workspace::new();
    let command = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status; \
        unshare --user --map-root-user true && echo gained userns; \
        mount -t tmpfs none /tmp && echo gained mounted; \
        /usr/sbin/chroot / true && echo gained chrooted; \
        mknod node b 8 0 && echo gained device; \
        cp /bin/sh own && chmod u+s own && ls -l own";
    let finished = run(&workspace.spec(command)).await;
    let seen = text(&finished);
    assert_eq!(seen.matches("0000000000000000").count(), 5, "{seen}");
    assert!(seen.contains("NoNewPrivs:\t1"), "{seen}");
    assert!(!seen.contains("gained"), "{seen}");
}

#[tokio::test]
async fn s4_d8_no_variable_of_the_host_reaches_the_command() {
    let workspace = Workspace::new();
    assert!(
        fs::read_to_string("/proc/self/environ").unwrap().contains("CARGO"),
        "there is something to leak"
    );
    let command = "env; cat /proc/1/environ /proc/self/environ | tr '\\0' '\\n'";
    let finished = run(&workspace.spec(command)).await;
    assert!(!text(&finished).contains("CARGO"), "{}", text(&finished));
}
