//! System calls that no command of a build or a test needs, and that reach other processes, mounts, keys or
//! much untested kernel code. A deny list: what it forgets is still bounded by namespaces or Landlock.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Operator,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::orders::Sockets;

/// Puts the filters on this process.
pub(crate) fn deny(sockets: Sockets) -> Result<(), seccompiler::Error> {
    for (errno, rules) in [
        (libc::EPERM, forbidden()?),
        // As if the kernel had none of these: programs know how to do without.
        (libc::ENOSYS, absent()),
        (libc::EAFNOSUPPORT, other_sockets(sockets)?),
    ] {
        seccompiler::apply_filter(&filter(rules, errno)?)?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn filter(rules: Rules, errno: i32) -> Result<BpfProgram, BackendError> {
    let refusal = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(with_x32(rules), SeccompAction::Allow, refusal, architecture)?.try_into()
}

/// The same numbers in the second numbering that x86-64 kernels may answer to, which a filter sees under the
/// same architecture.
fn with_x32(mut rules: Rules) -> Rules {
    const X32: i64 = 0x4000_0000;
    if cfg!(target_arch = "x86_64") {
        let again: Vec<_> = rules.iter().map(|(number, rules)| (number | X32, rules.clone())).collect();
        rules.extend(again);
    }
    rules
}

const MOUNTS: &[i64] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // Opens by number what no path leads to.
    libc::SYS_open_by_handle_at,
];
const NAMESPACES: &[i64] = &[libc::SYS_unshare, libc::SYS_setns];
const OTHER_PROCESSES: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
];
const KERNEL: &[i64] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &[i64] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    // In the x32 numbering: ptrace, process_vm_readv, process_vm_writev, kexec_load.
    521,
    539,
    540,
    528,
];
#[cfg(not(target_arch = "x86_64"))]
const ARCHITECTURE: &[i64] = &[];

/// Feed a terminal as if its user had typed.
const TERMINAL_INPUT: [u64; 2] = [0x5412, 0x541c];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. CLONE_NEWTIME is for clone3 alone.
const NEW_NAMESPACES: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

fn forbidden() -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    for number in [MOUNTS, NAMESPACES, OTHER_PROCESSES, KERNEL, ARCHITECTURE].concat() {
        rules.insert(number, Vec::new());
    }
    let when = |argument, length, operator, value| {
        SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
    };
    let terminal = TERMINAL_INPUT.map(|request| when(1, Length::Dword, Operator::Eq, request));
    rules.insert(libc::SYS_ioctl, terminal.into_iter().collect::<Result<_, _>>()?);
    let clone = NEW_NAMESPACES.map(|flag| when(0, Length::Qword, Operator::MaskedEq(flag), flag));
    rules.insert(libc::SYS_clone, clone.into_iter().collect::<Result<_, _>>()?);
    Ok(rules)
}

/// `clone3` has its flags where a filter cannot read them; `io_uring` does system calls that no filter sees.
fn absent() -> Rules {
    let calls =
        [libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    calls.into_iter().map(|number| (number, Vec::new())).collect()
}

fn other_sockets(allowed: Sockets) -> Result<Rules, BackendError> {
    let families: &[i32] = match allowed {
        Sockets::None => &[],
        Sockets::Unix => &[libc::AF_UNIX],
        Sockets::Loopback => &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6],
    };
    let conditions: Vec<_> = families
        .iter()
        .map(|family| SeccompCondition::new(0, Length::Dword, Operator::Ne, u64::from(family.unsigned_abs())))
        .collect::<Result<_, _>>()?;
    let rules = if conditions.is_empty() { Vec::new() } else { vec![SeccompRule::new(conditions)?] };
    Ok(Rules::from([(libc::SYS_socket, rules)]))
}
