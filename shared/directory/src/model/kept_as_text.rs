//! Enums that are kept as text.

/// An enum that is kept as text, defined by the macro `kept_as_text!`.
pub trait KeptAsText: From<String> {
    /// The texts that this version knows, in the order of the variants.
    const TEXTS: &'static [&'static str];

    /// The text.
    fn as_str(&self) -> &str;
}

/// Defines an enum that is kept as text. A text that this version does not know, which another version of Rollcall
/// wrote, is kept as it is.
macro_rules! kept_as_text {
    ($(#[$of:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$of])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// What this version does not know, which another version of Rollcall wrote.
            Other(String),
        }

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl $crate::model::kept_as_text::KeptAsText for $name {
            const TEXTS: &'static [&'static str] = &[$($text),+];

            fn as_str(&self) -> &str {
                self.as_str()
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Other(text),
                }
            }
        }

        impl From<$name> for String {
            fn from(of: $name) -> Self {
                of.as_str().to_owned()
            }
        }
    };
}

pub(crate) use kept_as_text;
