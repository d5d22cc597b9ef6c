//! Who comes next, rule by rule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const AGING: Duration = Duration::from_secs(600);
const LOW: u8 = 1;
const NORMAL: u8 = 2;
const URGENT: u8 = 4;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

fn add(queue: &mut Queue, task: &str, domain: &str, level: u8, since: i64) {
    queue.insert((task, 1), ("shop", domain), level, at(since));
}

fn next(queue: &mut Queue, now: i64) -> String {
    let waiting = queue.take(at(now), AGING, |_| true).unwrap();
    queue.served(&waiting.group.domain);
    waiting.task.to_string()
}

fn all(queue: &mut Queue, now: i64) -> Vec<String> {
    (0..queue.len()).map(|_| next(queue, now)).collect()
}

#[test]
fn the_urgent_come_first_and_then_the_oldest() {
    let mut queue = Queue::default();
    for (task, level, since) in [("a", NORMAL, 3), ("b", LOW, 0), ("c", URGENT, 9), ("d", NORMAL, 2)] {
        add(&mut queue, task, "", level, since);
    }
    assert_eq!(all(&mut queue, 10), ["c", "d", "a", "b"]);
    assert!(queue.is_empty() && queue.groups.is_empty());
}

#[test]
fn what_waits_moves_up_one_priority_after_the_other() {
    let mut queue = Queue::default();
    add(&mut queue, "low", "", LOW, 0);
    add(&mut queue, "normal", "", NORMAL, 599);
    assert_eq!(next(&mut queue, 599), "normal");
    add(&mut queue, "normal", "", NORMAL, 599);
    assert_eq!(next(&mut queue, 600), "low", "as high as normal, and older");
    assert_eq!(next(&mut queue, 600), "normal");
    add(&mut queue, "low", "", LOW, 0);
    add(&mut queue, "urgent", "", URGENT, 1_799);
    assert_eq!(next(&mut queue, 1_799), "urgent");
    add(&mut queue, "urgent", "", URGENT, 1_799);
    assert_eq!(next(&mut queue, 1_800), "low", "as high as urgent, and older");
    add(&mut queue, "low", "", LOW, 1_800);
    assert_eq!(next(&mut queue, 3_599), "urgent");
    add(&mut queue, "urgent", "", URGENT, 1_799);
    assert_eq!(next(&mut queue, 9_999), "urgent", "nothing is higher than urgent, however old");
}

#[test]
fn domains_take_turns_whoever_came_first() {
    let mut queue = Queue::default();
    for n in 0..4 {
        add(&mut queue, &format!("a{n}"), "A", NORMAL, n);
    }
    assert_eq!(next(&mut queue, 5), "a0");
    add(&mut queue, "b0", "b", NORMAL, 5);
    add(&mut queue, "b1", " B ", NORMAL, 6);
    add(&mut queue, "c0", "c", NORMAL, 7);
    assert_eq!(all(&mut queue, 8), ["a1", "b0", "c0", "a2", "b1", "a3"]);
}

#[test]
fn a_long_backlog_keeps_a_new_domain_out_for_three_times_the_aging_at_most() {
    let mut queue = Queue::default();
    for n in 0..100 {
        add(&mut queue, &format!("old{n:03}"), "backlog", LOW, 0);
    }
    add(&mut queue, "new", "other", LOW, 100_000);
    assert_eq!(next(&mut queue, 100_000), "old000", "it has waited for longer");
    let after = 100_000 + 3 * 600;
    assert_eq!(next(&mut queue, after), "new", "as high as all others, and its domain had no turn yet");
}

#[test]
fn who_may_not_does_not_hold_up_others() {
    let mut queue = Queue::default();
    queue.insert(("full", 1), ("a", "x"), URGENT, at(0));
    queue.insert(("open", 1), ("b", "x"), LOW, at(5));
    let may = |group: &Group| group.repository != "a";
    assert!(queue.has_any(may));
    assert_eq!(&*queue.take(at(6), AGING, may).unwrap().task, "open");
    assert!(queue.take(at(6), AGING, may).is_none() && !queue.has_any(may));
    assert_eq!(queue.run_of("full"), Some(1));
}

#[test]
fn a_task_waits_once_and_what_was_taken_out_can_be_put_back() {
    let mut queue = Queue::default();
    add(&mut queue, "a", "x", NORMAL, 0);
    queue.insert(("a", 2), ("shop", "y"), NORMAL, at(1));
    assert_eq!((queue.len(), queue.run_of("a"), queue.groups.len()), (1, Some(2), 1));
    let taken = queue.take(at(2), AGING, |_| true).unwrap();
    assert!(queue.remove("a").is_none());
    queue.put(taken.clone());
    assert_eq!(queue.take(at(2), AGING, |_| true), Some(taken));
}

#[test]
fn domains_without_end_share_a_group_and_turns_are_forgotten() {
    let mut queue = Queue::default();
    for n in 0..3 * MAX_GROUPS {
        add(&mut queue, &format!("t{n}"), &format!("d{n}"), NORMAL, 0);
    }
    assert_eq!(queue.groups.len(), MAX_GROUPS + 1);
    let mut taken: Vec<String> = all(&mut queue, 1);
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 3 * MAX_GROUPS);
    for n in 0..3 * MAX_TURNS {
        queue.served(&format!("d{n}"));
        assert!(queue.turns.len() <= MAX_TURNS + 1);
    }
}

/// In the group of the others its limit would not be seen: it would be chosen, and refused, for ever.
#[test]
fn a_domain_with_a_limit_has_a_group_of_its_own_however_many_there_are() {
    let mut queue = Queue::new([" Search ".to_owned()].iter());
    for n in 0..MAX_GROUPS + 9 {
        add(&mut queue, &format!("t{n}"), &format!("d{n}"), LOW, 1);
    }
    add(&mut queue, "limited", "SEARCH", URGENT, 0);
    assert_eq!(queue.groups.len(), MAX_GROUPS + 2);
    let room = |group: &Group| group.domain != "search";
    assert_ne!(&*queue.take(at(1), AGING, room).unwrap().task, "limited");
    assert_eq!(&*queue.take(at(1), AGING, |_| true).unwrap().task, "limited");
}

proptest! {
    /// S4-SP5: whoever else comes, in whatever domain and however urgent, a task that waits is let in.
    #[test]
    fn nothing_starves(
        level in LOW..=URGENT,
        behind in 0_usize..40,
        arrivals in proptest::collection::vec((0_usize..6, LOW..=URGENT), 400),
        seconds in 5_i64..120,
    ) {
        let mut queue = Queue::default();
        for n in 0..behind {
            add(&mut queue, &format!("before{n}"), &format!("d{}", n % 3), URGENT, 0);
        }
        add(&mut queue, "it", "d0", level, 0);
        let mut now = 0;
        let mut served = 0;
        let mut late = 0;
        for (n, (domain, level)) in arrivals.iter().cycle().enumerate().take(20_000) {
            // Every tenth in a domain that was never heard of.
            let domain = if n % 10 == 0 { format!("new{n}") } else { format!("d{domain}") };
            add(&mut queue, &format!("t{n}"), &domain, *level, now);
            now += seconds;
            served += 1;
            late += usize::from(now > 3 * 600);
            if next(&mut queue, now) == "it" {
                break;
            }
        }
        prop_assert!(queue.run_of("it").is_none());
        // Once it is as high as anything, each of those before it in its domain costs one turn of every domain.
        let domains = 6 + 3 + behind + served / 10;
        prop_assert!(late <= (behind + served.min(3 * 600 / seconds as usize + 1) + 2) * domains, "{late} of {served}");
    }

    /// Among equals every domain that always has something waiting gets the same share, give or take one.
    #[test]
    fn shares_of_domains_differ_by_one_at_most(domains in 1_usize..9, turns in 1_usize..90, skew in 1_usize..20) {
        let mut queue = Queue::default();
        for domain in 0..domains {
            for n in 0..turns + domain * skew {
                add(&mut queue, &format!("{domain}-{n}"), &format!("d{domain}"), NORMAL, (domain * n % 7) as i64);
            }
        }
        let mut shares = vec![0_usize; domains];
        for _ in 0..turns {
            let task = next(&mut queue, 30);
            shares[task.split('-').next().unwrap().parse::<usize>().unwrap()] += 1;
        }
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{shares:?}");
    }

    /// Whatever is put in comes out once, unless it is taken out.
    #[test]
    fn everything_comes_out_once(steps in proptest::collection::vec((0_usize..30, 0_usize..4, 0_u8..6), 1..200)) {
        let mut queue = Queue::default();
        let mut expected = std::collections::BTreeSet::new();
        for (n, (task, domain, level)) in steps.iter().enumerate() {
            let task = format!("t{task}");
            if *level == 5 {
                prop_assert_eq!(queue.remove(&task).is_some(), expected.remove(&task));
            } else {
                add(&mut queue, &task, &format!("d{domain}"), *level, n as i64);
                expected.insert(task);
            }
            prop_assert_eq!(queue.len(), expected.len());
        }
        let found: std::collections::BTreeSet<String> = all(&mut queue, 10_000).into_iter().collect();
        prop_assert_eq!(found, expected);
        prop_assert!(queue.groups.is_empty());
    }
}
