//! Which places of a row are taken, and which of them may want an event.

use std::collections::{BTreeMap, HashMap};

use stoat_events::{Filter, TopicPattern};

/// How many places share a word of marks.
pub(super) const PER_BLOCK: usize = u64::BITS as usize;

/// The places of a row, as bits. Each is found by the topics that its filter names, so
/// that an event costs nothing for those who follow other topics; a place whose filter
/// names none, or patterns, is looked at for every event.
#[derive(Debug, Default)]
pub(super) struct Index {
    taken: Vec<u64>,
    wide: Vec<u64>,
    topics: HashMap<Box<str>, Places>,
    count: usize,
    /// All blocks before this one are full.
    roomy: usize,
}

/// Places by block, few of many.
type Places = BTreeMap<usize, u64>;

impl Index {
    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.count
    }

    /// How many blocks there are, the last of which is not empty.
    pub(super) fn blocks(&self) -> usize {
        self.taken.len()
    }

    /// Takes the first free place.
    pub(super) fn take(&mut self, filter: &Filter) -> usize {
        while self.taken.get(self.roomy) == Some(&u64::MAX) {
            self.roomy += 1;
        }
        if self.roomy == self.taken.len() {
            self.taken.push(0);
            self.wide.push(0);
        }
        let place = self.roomy * PER_BLOCK + self.taken[self.roomy].trailing_ones() as usize;
        self.taken[self.roomy] |= bit(place);
        self.count += 1;
        self.add(place, filter);
        place
    }

    /// Gives a place back that was taken with this filter.
    pub(super) fn give_back(&mut self, place: usize, filter: &Filter) {
        self.remove(place, filter);
        self.taken[place / PER_BLOCK] &= !bit(place);
        self.count -= 1;
        self.roomy = self.roomy.min(place / PER_BLOCK);
        while self.taken.last() == Some(&0) {
            self.taken.pop();
            self.wide.pop();
        }
        if self.taken.len() * 4 < self.taken.capacity() {
            self.taken.shrink_to(self.taken.len() * 2);
            self.wide.shrink_to(self.wide.len() * 2);
        }
    }

    /// The filter of a place has changed.
    pub(super) fn change(&mut self, place: usize, old: &Filter, new: &Filter) {
        self.remove(place, old);
        self.add(place, new);
    }

    /// Marks the places that may want events of these topics, or events without one.
    pub(super) fn mark<'a>(&self, topics: impl Iterator<Item = &'a str>, marks: &mut Vec<u64>) {
        marks.clone_from(&self.wide);
        let mut last = None;
        for topic in topics {
            // Events often come in runs.
            if last.replace(topic) == Some(topic) {
                continue;
            }
            for (block, places) in self.topics.get(topic).into_iter().flatten() {
                marks[*block] |= places;
            }
        }
    }

    /// Marks all places that are taken.
    pub(super) fn mark_all(&self, marks: &mut Vec<u64>) {
        marks.clone_from(&self.taken);
    }

    fn add(&mut self, place: usize, filter: &Filter) {
        let block = place / PER_BLOCK;
        let Some(topics) = named_topics(filter) else {
            self.wide[block] |= bit(place);
            return;
        };
        for topic in topics {
            let places = self.topics.entry(topic.as_str().into()).or_default();
            *places.entry(block).or_default() |= bit(place);
        }
    }

    fn remove(&mut self, place: usize, filter: &Filter) {
        let block = place / PER_BLOCK;
        let Some(topics) = named_topics(filter) else {
            self.wide[block] &= !bit(place);
            return;
        };
        for topic in topics {
            let Some(places) = self.topics.get_mut(topic.as_str()) else {
                // Named twice.
                continue;
            };
            if let Some(word) = places.get_mut(&block) {
                *word &= !bit(place);
                if *word == 0 {
                    places.remove(&block);
                }
            }
            if places.is_empty() {
                self.topics.remove(topic.as_str());
            }
        }
        if self.topics.len() * 4 < self.topics.capacity() {
            self.topics.shrink_to(self.topics.len() * 2);
        }
    }
}

/// The topics of a filter that selects nothing else.
fn named_topics(filter: &Filter) -> Option<&[TopicPattern]> {
    filter
        .topics()
        .filter(|topics| topics.iter().all(TopicPattern::is_exact))
}

fn bit(place: usize) -> u64 {
    1 << (place % PER_BLOCK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(marks: &[u64]) -> Vec<usize> {
        let all = 0..marks.len() * PER_BLOCK;
        all.filter(|place| marks[place / PER_BLOCK] & bit(*place) != 0)
            .collect()
    }

    fn marked(index: &Index, topics: &[&str]) -> Vec<usize> {
        let mut marks = vec![u64::MAX; 3];
        index.mark(topics.iter().copied(), &mut marks);
        places(&marks)
    }

    #[test]
    fn an_event_is_for_its_topic_and_for_those_who_name_none() {
        let mut index = Index::default();
        for subscriber in 0..10_000 {
            let filter = Filter::from_lists(None, Some(&format!("t{}", subscriber % 1000)));
            index.take(&filter.unwrap());
        }
        let expected: Vec<usize> = (0..10).map(|n| n * 1000 + 7).collect();
        assert_eq!(marked(&index, &["t7"]), expected);
        assert_eq!(marked(&index, &["t7", "t7"]), expected);
        assert_eq!(marked(&index, &["t7", "t8"]).len(), 20);
        assert!(marked(&index, &["t1000"]).is_empty());

        let everything = index.take(&Filter::all());
        let wide = Filter::from_lists(None, Some("t7,x.*")).unwrap();
        let wide = index.take(&wide);
        assert_eq!(marked(&index, &[]), [everything, wide]);
        assert_eq!(marked(&index, &["t9"]).len(), 12);
    }

    #[test]
    fn nothing_stays_of_who_left() {
        let mut index = Index::default();
        let filter = |n| Filter::from_lists(None, Some(&format!("t{n},t{n},u"))).unwrap();
        for _ in 0..3 {
            for n in 0..1000 {
                assert_eq!(index.take(&filter(n)), n);
            }
            assert_eq!((index.taken(), index.blocks()), (1000, 16));
            for n in 0..1000 {
                index.give_back(n, &filter(n));
            }
            assert_eq!((index.taken(), index.blocks()), (0, 0));
        }
        assert!(index.topics.is_empty() && index.topics.capacity() < 8);
        assert!(index.taken.capacity() < 8 && index.wide.capacity() < 8);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(Filter),
        GiveBack(usize),
        Change(usize, Filter),
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let topics = proptest::sample::select(vec!["a", "b", "a.b", "a.*", "*"]);
        proptest::option::of(proptest::collection::vec(topics, 0..4)).prop_map(|topics| {
            let topics = topics.map(|topics| topics.join(","));
            Filter::from_lists(None, topics.as_deref()).unwrap()
        })
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => any_filter().prop_map(Step::Take),
            2 => any::<usize>().prop_map(Step::GiveBack),
            2 => (any::<usize>(), any_filter()).prop_map(|(at, filter)| Step::Change(at, filter)),
        ]
    }

    proptest! {
        /// Whoever wants an event is marked, and of the others only those whose filter
        /// does not name its topics.
        #[test]
        fn it_agrees_with_the_filters(steps in proptest::collection::vec(any_step(), 1..300)) {
            let mut index = Index::default();
            let mut there: Vec<(usize, Filter)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(filter) => {
                        let free = (0..).find(|place| there.iter().all(|(taken, _)| taken != place));
                        let place = index.take(&filter);
                        prop_assert_eq!(Some(place), free);
                        there.push((place, filter));
                    }
                    Step::GiveBack(at) if !there.is_empty() => {
                        let (place, filter) = there.swap_remove(at % there.len());
                        index.give_back(place, &filter);
                    }
                    Step::Change(at, new) if !there.is_empty() => {
                        let at = at % there.len();
                        let (place, old) = &mut there[at];
                        index.change(*place, old, &new);
                        *old = new;
                    }
                    Step::GiveBack(_) | Step::Change(..) => {}
                }
            }
            there.sort_by_key(|(place, _)| *place);
            for topic in [None, Some("a"), Some("b"), Some("a.b"), Some("c")] {
                let wants = |filter: &Filter| {
                    filter.matches("x", topic) || named_topics(filter).is_none()
                };
                let wanting = there.iter().filter(|(_, filter)| wants(filter));
                let expected: Vec<usize> = wanting.map(|(place, _)| *place).collect();
                prop_assert_eq!(marked(&index, topic.as_slice()), expected);
            }
            let mut marks = Vec::new();
            index.mark_all(&mut marks);
            let all: Vec<usize> = there.iter().map(|(place, _)| *place).collect();
            prop_assert_eq!(places(&marks), all);
        }
    }
}
