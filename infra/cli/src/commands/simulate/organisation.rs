//! Who works there: people and groups that follow from the seed alone, so that the same seed is the same organisation
//! at any size, and on any day.

use super::seed::Dice;

/// Somebody in Okta. `profile` is what is pushed first, `later` what the profile becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) user_name: String,
    /// Okta's own id.
    pub(super) external_id: String,
    pub(super) locale: &'static str,
    /// What Okta sends as a password when it does not synchronise passwords.
    pub(super) password: String,
    /// What Okta sends when it does.
    pub(super) new_password: String,
    /// Employees have a number; contractors have none, and nothing of the enterprise extension.
    pub(super) employee_number: Option<String>,
    pub(super) profile: Profile,
    pub(super) later: Profile,
}

/// What may change about somebody.
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

/// Names as they are written, and as they are in an address.
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

/// Names of groups have all the signs that filters and addresses have trouble with (F10).
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

/// Everybody, by their index.
pub(super) fn people(seed: u64, count: usize) -> Vec<Person> {
    (0..count).map(|index| person(seed, index)).collect()
}

fn person(seed: u64, index: usize) -> Person {
    // A walk through all pairs of names that visits each once, as its step is odd and their number a power of two.
    let mut walk = Dice::new(seed, "names", 0);
    let (begin, step) = (walk.below(1024), walk.below(512) * 2 + 1);
    let pair = (begin + step * index) % 1024;
    let round = index / 1024;
    let (given_name, given) = GIVEN.get(pair % 32).copied().unwrap_or_default();
    let (family_name, family) = FAMILY.get(pair / 32).copied().unwrap_or_default();

    let mut dice = Dice::new(seed, "person", index);
    let contractor = dice.below(8) == 0;
    let number = match round {
        0 => String::new(),
        round => (round + 1).to_string(),
    };
    let tag = if contractor { "+contractor" } else { "" };
    let profile = Profile {
        given_name,
        family_name,
        title: dice.one_of(&TITLES),
        department: dice.one_of(&DEPARTMENTS),
    };
    // Some marry, the others move.
    let mut later = profile.clone();
    match dice.below(2) {
        0 => {
            later.family_name = another(family_name, &FAMILY.map(|(written, _)| written), &mut dice)
        }
        _ => later.title = another(profile.title, &TITLES, &mut dice),
    }
    Person {
        user_name: format!("{given}.{family}{number}{tag}@example.com"),
        external_id: format!("00u{}", dice.letters(17)),
        locale: dice.one_of(&LOCALES),
        password: dice.letters(24),
        new_password: dice.letters(24),
        employee_number: (!contractor).then(|| (100_001 + index).to_string()),
        profile,
        later,
    }
}

/// One of the choices that is not this one.
fn another(this: &'static str, choices: &[&'static str], dice: &mut Dice) -> &'static str {
    let others: Vec<&'static str> = choices
        .iter()
        .copied()
        .filter(|choice| *choice != this)
        .collect();
    dice.one_of(&others)
}

/// The names of the groups, by their index.
pub(super) fn groups(seed: u64, count: usize) -> Vec<String> {
    let order = Dice::new(seed, "groups", 0).shuffled(GROUPS.len());
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
        // There are apostrophes, plus signs, people without extension, and letters beyond ASCII.
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
