//! Whether orders can be sent to an exchange.

/// Declared for every exchange; none takes orders from this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trading {
    /// Market data only, in this version.
    NotYet,
    /// Market data only, by declaration: there will be no other.
    Never,
}

impl Trading {
    /// In a word or two, for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotYet => "not yet",
            Self::Never => "never",
        }
    }

    /// What there is to say to those who ask for it.
    #[must_use]
    pub fn refusal(self, exchange: &str) -> String {
        match self {
            Self::NotYet => {
                format!("no trading on {exchange} in this version of dccd: it is market data only, and needs no keys")
            }
            Self::Never => format!("no trading on {exchange}: it is market data only by declaration, and needs no keys"),
        }
    }
}
