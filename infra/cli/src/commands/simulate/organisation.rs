//! The people and groups of an organisation. They depend only on the seed, so the same seed is the same organisation at any size.

use super::seed::Rng;

/// A user in Okta. `profile` is pushed first, and `later` is the changed profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) user_name: String,
    /// The id in Okta.
    pub(super) external_id: String,
    pub(super) locale: &'static str,
    /// The placeholder that Okta sends as a password if it does not synchronise passwords.
    pub(super) password: String,
    /// The password that Okta sends if it synchronises passwords.
    pub(super) new_password: String,
    /// Employees have a number. Contractors do not, and have no enterprise extension.
    pub(super) employee_number: Option<String>,
    pub(super) profile: Profile,
    pub(super) later: Profile,
}

/// The attributes of a user that can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) given_name: &'static str,
    pub(super) family_name: &'static str,
    pub(super) title: &'static str,
    pub(super) department: &'static str,
}

impl Profile {
    pub(super) fn display_name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name)
    }
}

/// Names as they are written, and as they are in an e-mail address.
const GIVEN: [(&str, &str); 32] = [
    ("Ann", "ann"),
    ("Zoë", "zoe"),
    ("Łukasz", "lukasz"),
    ("Priya", "priya"),
    ("Mateo", "mateo"),
    ("Siobhán", "siobhan"),
    ("Kenji", "kenji"),
    ("Amara", "amara"),
    ("Björn", "bjoern"),
    ("Chloé", "chloe"),
    ("Dmitri", "dmitri"),
    ("Elif", "elif"),
    ("Farid", "farid"),
    ("Grace", "grace"),
    ("Hana", "hana"),
    ("Igor", "igor"),
    ("Jürgen", "juergen"),
    ("Kofi", "kofi"),
    ("Leïla", "leila"),
    ("Mai", "mai"),
    ("Nuno", "nuno"),
    ("Olga", "olga"),
    ("Pablo", "pablo"),
    ("Quinn", "quinn"),
    ("Rosa", "rosa"),
    ("Søren", "soeren"),
    ("Tomáš", "tomas"),
    ("Uma", "uma"),
    ("Viktor", "viktor"),
    ("Wen", "wen"),
    ("Xavier", "xavier"),
    ("Yara", "yara"),
];

const FAMILY: [(&str, &str); 32] = [
    ("Archer", "archer"),
    ("O'Neill", "o'neill"),
    ("Müller", "mueller"),
    ("Nguyễn", "nguyen"),
    ("García", "garcia"),
    ("Smith-Jones", "smith-jones"),
    ("Okafor", "okafor"),
    ("Tanaka", "tanaka"),
    ("Novák", "novak"),
    ("Andersson", "andersson"),
    ("Baker", "baker"),
    ("Castro", "castro"),
    ("D'Angelo", "d'angelo"),
    ("Eriksen", "eriksen"),
    ("Fischer", "fischer"),
    ("Gupta", "gupta"),
    ("Haddad", "haddad"),
    ("Ivanova", "ivanova"),
    ("Jensen", "jensen"),
    ("Kowalska", "kowalska"),
    ("Lefèvre", "lefevre"),
    ("Mbeki", "mbeki"),
    ("Nowak", "nowak"),
    ("Öztürk", "oeztuerk"),
    ("Park", "park"),
    ("Rossi", "rossi"),
    ("Santos", "santos"),
    ("Taylor", "taylor"),
    ("Urban", "urban"),
    ("van Dijk", "vandijk"),
    ("Weber", "weber"),
    ("Yilmaz", "yilmaz"),
];

const TITLES: [&str; 8] = [
    "Engineer",
    "Account Executive",
    "Designer",
    "Analyst",
    "Recruiter",
    "Counsel",
    "Support Engineer",
    "Director",
];

const DEPARTMENTS: [&str; 6] = [
    "Engineering",
    "Sales",
    "Research & Development",
    "Finance",
    "People",
    "Legal",
];

const LOCALES: [&str; 6] = ["en-US", "en-GB", "de-DE", "fr-FR", "es-ES", "ja-JP"];

/// Names of groups, with characters that are special in filters and URLs (F10).
const GROUPS: [&str; 16] = [
    "Engineering",
    "R&D",
    "Sales + Marketing",
    "Everyone (EMEA)",
    "People's Team",
    "Finance 100%",
    "On-call \"Blue\"",
    "Legal; Compliance",
    "Vertrieb Österreich",
    "Support/Tier 2",
    "ACME\\Domain Users",
    "Board?",
    "#announcements",
    "営業部",
    "VPN=Allowed",
    "Contractors, External",
];

/// Returns the users, by their index.
pub(super) fn people(seed: u64, count: usize) -> Vec<Person> {
    (0..count).map(|index| person(seed, index)).collect()
}

fn person(seed: u64, index: usize) -> Person {
    // This visits each pair of names once, because the step is odd and the number of pairs is a power of two.
    let mut walk = Rng::new(seed, "names", 0);
    let (begin, step) = (walk.below(1024), walk.below(512) * 2 + 1);
    let pair = (begin + step * index) % 1024;
    let round = index / 1024;
    let (given_name, given) = GIVEN.get(pair % 32).copied().unwrap_or_default();
    let (family_name, family) = FAMILY.get(pair / 32).copied().unwrap_or_default();

    let mut rng = Rng::new(seed, "person", index);
    let contractor = rng.below(8) == 0;
    let number = match round {
        0 => String::new(),
        round => (round + 1).to_string(),
    };
    let tag = if contractor { "+contractor" } else { "" };
    let profile = Profile {
        given_name,
        family_name,
        title: rng.one_of(&TITLES),
        department: rng.one_of(&DEPARTMENTS),
    };
    // The family name changes, or the title.
    let mut later = profile.clone();
    match rng.below(2) {
        0 => {
            later.family_name = another(family_name, &FAMILY.map(|(written, _)| written), &mut rng)
        }
        _ => later.title = another(profile.title, &TITLES, &mut rng),
    }
    Person {
        user_name: format!("{given}.{family}{number}{tag}@example.com"),
        external_id: format!("00u{}", rng.letters(17)),
        locale: rng.one_of(&LOCALES),
        password: rng.letters(24),
        new_password: rng.letters(24),
        employee_number: (!contractor).then(|| (100_001 + index).to_string()),
        profile,
        later,
    }
}

/// Returns a choice other than the given one.
fn another(this: &'static str, choices: &[&'static str], rng: &mut Rng) -> &'static str {
    let others: Vec<&'static str> = choices
        .iter()
        .copied()
        .filter(|choice| *choice != this)
        .collect();
    rng.one_of(&others)
}

/// Returns the names of the groups, by their index.
pub(super) fn groups(seed: u64, count: usize) -> Vec<String> {
    let order = Rng::new(seed, "groups", 0).shuffled(GROUPS.len());
    (0..count)
        .map(|index| {
            let place = order.get(index % GROUPS.len()).copied().unwrap_or(0);
            let name = GROUPS.get(place).copied().unwrap_or_default();
            match index / GROUPS.len() {
                0 => name.to_owned(),
                round => format!("{name} {}", round + 1),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_is_an_organisation_at_any_size() {
        let all = people(7, 3_000);
        assert_eq!(people(7, 30), all[..30]);
        assert_ne!(people(8, 30), all[..30]);
        assert_eq!(groups(7, 5), groups(7, 40)[..5]);
    }

    #[test]
    fn nobody_shares_a_name_or_an_id() {
        for seed in 0..5 {
            let people = people(seed, 3_000);
            let names: HashSet<&String> = people.iter().map(|person| &person.user_name).collect();
            let ids: HashSet<&String> = people.iter().map(|person| &person.external_id).collect();
            assert_eq!((names.len(), ids.len()), (3_000, 3_000));
            let groups = groups(seed, 100);
            assert_eq!(groups.iter().collect::<HashSet<_>>().len(), 100);
        }
    }

    #[test]
    fn people_look_as_they_do_in_okta() {
        let people = people(1, 500);
        for person in &people {
            assert!(person.user_name.is_ascii() && person.user_name.ends_with("@example.com"));
            assert!(person.external_id.starts_with("00u") && person.external_id.len() == 20);
            assert_ne!(person.profile, person.later);
        }
        // There are apostrophes, plus signs, users without extension, and letters beyond ASCII.
        let some = |is: &dyn Fn(&Person) -> bool| people.iter().any(is);
        assert!(some(&|person| person.user_name.contains('\'')));
        assert!(some(
            &|person| person.user_name.contains('+') && person.employee_number.is_none()
        ));
        assert!(some(&|person| !person.profile.family_name.is_ascii()));
        assert!(some(
            &|person| person.profile.family_name != person.later.family_name
        ));
        assert!(some(&|person| person.profile.title != person.later.title));
    }
}
