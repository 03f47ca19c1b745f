//! Postings: the sorted series numbers of one label pair.

use roaring::RoaringBitmap;

/// Above this many series a list becomes a bitmap.
const MAX_LIST: usize = 64;

/// The sorted series numbers of one label pair; most pairs have few.
#[derive(Debug, Default)]
pub(crate) enum Postings {
    #[default]
    Empty,
    One(u32),
    List(Vec<u32>),
    Bitmap(Box<RoaringBitmap>),
}

impl Postings {
    /// The list of these numbers, which ascend.
    pub(crate) fn from_sorted(list: &[u32]) -> Self {
        match list {
            [] => Self::Empty,
            [one] => Self::One(*one),
            _ if list.len() <= MAX_LIST => Self::List(list.to_vec()),
            _ => {
                let bitmap = RoaringBitmap::from_sorted_iter(list.iter().copied());
                Self::Bitmap(Box::new(bitmap.expect("the list ascends")))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::List(list) => list.len(),
            Self::Bitmap(bitmap) => bitmap.len() as usize,
        }
    }

    /// How many series are in both.
    pub(crate) fn common(&self, other: &Self) -> usize {
        match (self, other) {
            (Self::Bitmap(a), Self::Bitmap(b)) => a.intersection_len(b) as usize,
            _ if self.len() > other.len() => other.common(self),
            (Self::Empty, _) => 0,
            (Self::One(one), _) => usize::from(other.contains(*one)),
            (Self::List(list), _) => list.iter().filter(|series| other.contains(**series)).count(),
            (Self::Bitmap(bitmap), _) => bitmap.iter().filter(|series| other.contains(*series)).count(),
        }
    }

    fn contains(&self, series: u32) -> bool {
        match self {
            Self::Empty => false,
            Self::One(one) => *one == series,
            Self::List(list) => list.binary_search(&series).is_ok(),
            Self::Bitmap(bitmap) => bitmap.contains(series),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, series: u32) {
        match self {
            Self::Empty => *self = Self::One(series),
            Self::One(one) if *one == series => {}
            Self::One(one) => *self = Self::List(vec![series.min(*one), series.max(*one)]),
            Self::List(list) => {
                if let Err(at) = list.binary_search(&series) {
                    list.insert(at, series);
                }
                if list.len() > MAX_LIST {
                    *self = Self::from_sorted(list);
                }
            }
            Self::Bitmap(bitmap) => {
                bitmap.insert(series);
            }
        }
    }

    pub(crate) fn remove(&mut self, series: u32) {
        match self {
            Self::Empty => {}
            Self::One(one) => {
                if *one == series {
                    *self = Self::Empty;
                }
            }
            Self::List(list) => {
                if let Ok(at) = list.binary_search(&series) {
                    list.remove(at);
                }
            }
            Self::Bitmap(bitmap) => {
                bitmap.remove(series);
            }
        }
    }

    /// Adds every number to `out`.
    pub(crate) fn add_to(&self, out: &mut RoaringBitmap) {
        match self {
            Self::Empty => {}
            Self::One(one) => {
                out.insert(*one);
            }
            Self::List(list) => out.extend(list.iter().copied()),
            Self::Bitmap(bitmap) => *out |= &**bitmap,
        }
    }

    /// Whether a number of `other` is in here.
    pub(crate) fn intersects(&self, other: &RoaringBitmap) -> bool {
        match self {
            Self::Empty => false,
            Self::One(one) => other.contains(*one),
            Self::List(list) => list.iter().any(|&series| other.contains(series)),
            Self::Bitmap(bitmap) => !bitmap.is_disjoint(other),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty | Self::One(_) => 0,
            Self::List(list) => list.capacity() * 4,
            Self::Bitmap(bitmap) => {
                let stats = bitmap.statistics();
                let containers = stats.n_containers as usize * 32;
                let bytes = stats.n_bytes_array_containers
                    + stats.n_bytes_run_containers
                    + stats.n_bytes_bitset_containers;
                containers + bytes as usize + size_of::<RoaringBitmap>()
            }
        }
    }
}
