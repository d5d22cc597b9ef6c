//! Plans about the fixtures.

use millrace_profile::{Citation, Index, ground};

use crate::fixtures;

fn index(name: &str) -> Index {
    let (_, root) = fixtures::all().into_iter().find(|(found, _)| found == name).unwrap();
    Index::of(&root).unwrap()
}

/// S4-EX3: on each fixture the plan that cites what exists passes, and the one that invents is refused.
#[test]
fn s4_ex3_plans_about_each_fixture_cite_what_exists() {
    for (name, path, symbol, invented, nearest) in [
        ("rust-workspace", "crates/core/src/lib.rs", "Account::book", "Account::books", "Account::book"),
        ("python-service", "src/shop/cart.py", "Cart.total", "Cart.totals", "Cart::total"),
        ("typescript-monorepo", "packages/api/src/board.ts", "Board.add", "openCard", "openCards"),
        ("go-service", "internal/store/store.go", "Store.Put", "store.Putt", "Store::Put"),
        ("storefront", "app.py", "app.py", "static/styles.css", "static/style.css"),
    ] {
        let index = index(name);
        let plan = if symbol == path {
            vec![Citation::file(path)]
        } else {
            vec![Citation::file(path), Citation::symbol(symbol), Citation::symbol_in(path, symbol)]
        };
        assert_eq!(ground(&plan, &index), Ok(()), "{name}");
        let made_up =
            if invented.contains('/') { Citation::file(invented) } else { Citation::symbol(invented) };
        let refused = ground(&[made_up], &index).unwrap_err();
        assert_eq!(refused[0].cited, invented, "{name}");
        assert!(refused[0].nearest[0].starts_with(nearest), "{name}: {:?}", refused[0]);
    }
}

#[test]
fn anchors_lead_to_the_place() {
    let anchors = index("python-service").anchors("The cart's total is rounded wrongly", 3);
    assert_eq!(anchors[0].file, "src/shop/cart.py");
    let names: Vec<&str> = anchors[0].symbols.iter().map(|symbol| symbol.name.as_str()).collect();
    assert!(names.contains(&"total") && names.contains(&"Cart"), "{names:?}");
}

#[test]
fn an_index_survives_being_written_and_read() {
    let index = index("go-service");
    let text = serde_json::to_string(&index).unwrap();
    assert_eq!(serde_json::from_str::<Index>(&text).unwrap(), index);
    assert!(!index.is_partial());
}
