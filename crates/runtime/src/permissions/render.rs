//! The part of a nats-server's configuration that says who may connect and what they may do.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Identity, IdentityKey, grants};
use crate::bootstrap::Installation;

/// The account of Millrace, its users and their permissions, with literal public keys: for a server that
/// is started with keys at hand, as `millrace dev` does.
pub fn nats_config(keys: &[IdentityKey], installation: &Installation) -> String {
    auth_conf(installation, |identity| {
        keys.iter().find(|key| key.identity == identity).map(|key| key.public_key.clone())
    })
}

/// The same with every public key looked up in the server's environment ([`Identity::key_variable`]), so
/// that the text holds for every installation with these streams: for the manifests, and for servers that
/// others run. The server refuses to start while a variable is missing.
pub fn auth_template(installation: &Installation) -> String {
    auth_conf(installation, |identity| Some(format!("${}", identity.key_variable())))
}

/// The same with any public key, or with `$VARIABLE` where the server is to look one up in its
/// environment ([`Identity::key_variable`]); an identity without a key cannot connect. The same input
/// gives the same text.
pub fn auth_conf(installation: &Installation, key: impl Fn(Identity) -> Option<String>) -> String {
    let mut text = String::from(
        "# Generated from the catalogue by `millrace`; do not edit.\n\
         accounts {\n  MILLRACE {\n    jetstream: enabled\n    users: [\n",
    );
    for identity in Identity::all() {
        let Some(key) = key(identity) else { continue };
        let granted = grants(identity, installation);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "      # {identity}\n      {{ nkey: {key}, permissions: {{\n{}{}      }} }}\n",
            allow("publish", &granted.publish),
            allow("subscribe", &granted.subscribe),
        );
    }
    text.push_str("    ]\n  }\n}\n");
    text
}

fn allow(verb: &str, subjects: &BTreeSet<String>) -> String {
    let mut text = format!("        {verb}: {{ allow: [\n");
    for subject in subjects {
        let _ = writeln!(text, "          \"{subject}\"");
    }
    text.push_str("        ] }\n");
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::generate_keys;
    use super::*;

    #[test]
    fn the_same_input_gives_the_same_text_and_no_seed_is_in_it() {
        let keys = generate_keys().unwrap();
        let installation = Installation::default();
        let text = nats_config(&keys, &installation);
        assert_eq!(text, nats_config(&keys, &installation));
        for key in &keys {
            assert!(text.contains(&key.public_key) && !text.contains(&key.seed));
            assert_eq!(super::super::public_key(&key.seed).unwrap(), key.public_key);
        }
        let text = auth_template(&installation);
        assert!(text.contains("nkey: $MILLRACE_NKEY_SPEC_REGISTRY,"), "{text}");
    }
}
