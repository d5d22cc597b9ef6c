//! Who may be reached, as a list of names.

use std::net::IpAddr;

use super::address::is_public;

/// The hosts that a setup step may reach. Empty: nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    hosts: Vec<Host>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    /// `None`: 80 and 443.
    port: Option<u16>,
    may_be_private: bool,
}

/// An entry of the list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` {problem}")]
pub struct EgressError {
    /// As it was written.
    pub entry: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

const USUAL_PORTS: [u16; 2] = [80, 443];

impl Egress {
    /// From names of hosts, each `host` (ports 80 and 443) or `host:port`. `private` hosts name their port and may
    /// have an address of an inner network; the others are refused when they turn out to have one.
    ///
    /// # Errors
    /// The first entry that is no such name.
    pub fn new<A: AsRef<str>, B: AsRef<str>>(public: &[A], private: &[B]) -> Result<Self, EgressError> {
        let public = public.iter().map(|entry| Host::read(entry.as_ref(), false));
        let private = private.iter().map(|entry| Host::read(entry.as_ref(), true));
        Ok(Self { hosts: public.chain(private).collect::<Result<_, _>>()? })
    }

    /// Whether nobody may be reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether a name may be asked for at all, before it is resolved.
    pub(super) fn allows(&self, name: &str, port: u16) -> bool {
        self.hosts.iter().any(|host| host.is(name, port))
    }

    /// Whether what the name resolved to may be connected to.
    pub(super) fn allows_address(&self, name: &str, port: u16, address: IpAddr) -> bool {
        self.hosts.iter().any(|host| host.is(name, port) && (host.may_be_private || is_public(address)))
    }
}

impl Host {
    fn read(entry: &str, may_be_private: bool) -> Result<Self, EgressError> {
        let refuse = |problem| Err(EgressError { entry: entry.to_owned(), problem });
        let (name, port) = match entry.rsplit_once(':') {
            None => (entry, None),
            Some((name, port)) => match port.parse::<u16>() {
                Ok(port @ 1..) => (name, Some(port)),
                _ => return refuse("has no port from 1 to 65535 after the colon"),
            },
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || !name.chars().all(is_plain) {
            return refuse("is no host name; write `host` or `host:port`, without a scheme and without `*`");
        }
        if may_be_private && port.is_none() {
            return refuse("may be in an inner network, so it must name its port: `host:port`");
        }
        Ok(Self { name: name.to_ascii_lowercase(), port, may_be_private })
    }

    fn is(&self, name: &str, port: u16) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.name.eq_ignore_ascii_case(name)
            && self.port.map_or_else(|| USUAL_PORTS.contains(&port), |own| own == port)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn s4_d8_only_listed_hosts_ports_and_public_addresses() {
        let none: [&str; 0] = [];
        let rules = Egress::new(&["index.example", "files.example:8443"], &["inner.example:8081"]).unwrap();
        assert!(rules.allows("index.example", 443) && rules.allows("INDEX.example.", 80));
        assert!(!rules.allows("index.example", 22) && !rules.allows("sub.index.example", 443));
        assert!(!rules.allows("files.example", 443) && rules.allows("files.example", 8443));
        let (public, private) = ("1.1.1.1".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert!(rules.allows_address("index.example", 443, public));
        assert!(!rules.allows_address("index.example", 443, private), "a name that points inwards");
        assert!(rules.allows_address("inner.example", 8081, private));
        assert!(!rules.allows_address("inner.example", 22, private));
        for bad in ["https://x.example", "*.example", "x:0", "x:y", ""] {
            assert!(Egress::new(&[bad], &none).is_err(), "{bad}");
        }
        assert!(Egress::new(&none, &["inner.example"]).unwrap_err().to_string().contains("port"));
    }
}
