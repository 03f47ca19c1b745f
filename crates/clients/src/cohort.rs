//! Cohorts: the ways in which clients are looked at together.

use serde::Serialize;

use crate::browser;
use crate::cell::Cell;
use crate::names::Names;
use crate::report::{PROTOCOLS, Source};

/// What a cohort's members share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Dimension {
    /// Everybody.
    Global,
    /// The autonomous system.
    Asn,
    /// The country.
    Country,
    /// The server's point of presence.
    Pop,
    /// The HTTP version.
    Protocol,
    /// The browser family.
    Browser,
    /// The origin that was asked.
    Origin,
}

impl Dimension {
    /// Every dimension, in the order in which equal explanations are preferred.
    pub const ALL: [Self; 7] =
        [Self::Global, Self::Asn, Self::Country, Self::Pop, Self::Protocol, Self::Browser, Self::Origin];

    /// The value of the label `cohort`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Asn => "asn",
            Self::Country => "country",
            Self::Pop => "pop",
            Self::Protocol => "protocol",
            Self::Browser => "browser",
            Self::Origin => "origin",
        }
    }

    /// The cohort of a cell in this dimension; `None` when it is not known.
    pub fn of(self, cell: &Cell) -> Option<Cohort> {
        let value = match self {
            Self::Global => return Some(Cohort { dimension: self, value: 0 }),
            Self::Asn => cell.asn,
            Self::Country => u32::from(u16::from_be_bytes(cell.country)),
            Self::Pop => u32::from(cell.pop),
            Self::Protocol => u32::from(cell.protocol),
            Self::Browser => u32::from(cell.browser) + 1,
            Self::Origin => u32::from(cell.origin),
        };
        (value != 0).then_some(Cohort { dimension: self, value })
    }
}

/// A dimension and a value in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cohort {
    /// The dimension.
    pub dimension: Dimension,
    /// The number of the value; 0 for everybody.
    pub value: u32,
}

impl Cohort {
    /// Everybody.
    pub const GLOBAL: Self = Self { dimension: Dimension::Global, value: 0 };

    /// Whether a cell belongs to it.
    pub fn holds(self, cell: &Cell) -> bool {
        self.dimension.of(cell) == Some(self)
    }

    /// The value in words.
    pub fn name(self, names: &Names) -> String {
        match self.dimension {
            Dimension::Global => "all".to_owned(),
            Dimension::Asn => format!("AS{}", self.value),
            Dimension::Country => String::from_utf8_lossy(&(self.value as u16).to_be_bytes()).into_owned(),
            Dimension::Pop => names.pops.name(self.value as u16).to_owned(),
            Dimension::Protocol => PROTOCOLS.get(self.value as usize).copied().unwrap_or_default().to_owned(),
            Dimension::Browser => {
                browser::FAMILIES.get(self.value as usize - 1).copied().unwrap_or_default().to_owned()
            }
            Dimension::Origin => names.origins.name(self.value as u16).to_owned(),
        }
    }
}

/// One site, seen by one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct View {
    /// Index of the site.
    pub site: u16,
    /// Who saw it.
    pub source: Source,
}

impl View {
    /// The view that a cell belongs to.
    pub fn of(cell: &Cell) -> Self {
        Self { site: cell.site, source: cell.source }
    }
}
