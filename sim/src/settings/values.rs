//! Values as people write them: waits with their unit, shares, rates, counts, latencies.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The units of a wait, with their length in microseconds.
const UNITS: [(&str, f64); 6] = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("min", 6e7), ("h", 3.6e9), ("d", 8.64e10)];

/// The longest wait that can be written.
const LONGEST_DAYS: f64 = 1000.0;

/// A wait: `50ms`, `1.5s`, `5min`, `1h`.
///
/// # Errors
///
/// A text that says what is wrong and what to write instead.
pub fn wait(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let Ok(number) = number.parse::<f64>() else {
        return Err(format!("{text:?} is not a wait; write 50ms, 2s or 5min"));
    };
    if number < 0.0 {
        return Err("a wait cannot be negative".to_owned());
    }
    if unit.is_empty() && number != 0.0 {
        return Err(format!("a wait needs its unit; write {number}ms, {number}s or {number}min"));
    }
    let length = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, length)) => *length,
        None if unit.is_empty() => 0.0,
        None => return Err(format!("there is no unit {unit:?}; the units are us, ms, s, min, h and d")),
    };
    let micros = number * length;
    if micros > LONGEST_DAYS * 8.64e10 {
        return Err(format!("a wait is {LONGEST_DAYS} days at most"));
    }
    Ok(Duration::from_micros(micros.round() as u64))
}

/// A share: from 0 to 1.
///
/// # Errors
///
/// A text that says what is wrong and what to write instead.
pub fn share(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if (0.0..=1.0).contains(&number) {
        return Ok(number);
    }
    let mend = if (1.0..=100.0).contains(&number) {
        format!("; for {number} % write {}", number / 100.0)
    } else {
        String::new()
    };
    Err(format!("a share lies between 0 and 1{mend}"))
}

/// A rate, so many a second: zero or more.
///
/// # Errors
///
/// A text that says what is wrong and what to write instead.
pub fn rate(text: &str) -> Result<f64, String> {
    match number(text)? {
        rate if rate < 0.0 => Err("a rate cannot be negative; 0 turns it off".to_owned()),
        rate => Ok(rate),
    }
}

/// A number above zero.
///
/// # Errors
///
/// A text that says what is wrong.
pub fn positive(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number > 0.0 => Ok(number),
        _ => Err("this must be above 0".to_owned()),
    }
}

/// How many: a whole number from 1, such as `1000`, `1_000` or `1e6`.
///
/// # Errors
///
/// A text that says what is wrong and what to write instead.
pub fn count(text: &str) -> Result<usize, String> {
    match whole(text)? {
        0 => Err("at least 1 is needed".to_owned()),
        number => Ok(number),
    }
}

/// How many: a whole number from 0, such as `1000`, `1_000` or `1e6`.
///
/// # Errors
///
/// A text that says what is wrong and what to write instead.
pub fn whole(text: &str) -> Result<usize, String> {
    let plain = text.trim().replace('_', "");
    if let Ok(number) = plain.parse::<usize>() {
        return Ok(number);
    }
    match plain.parse::<f64>() {
        Ok(number) if number < 0.0 => Err("this cannot be negative".to_owned()),
        // Above 2^53 not every whole number is one of these.
        Ok(number) if number.fract() == 0.0 && number <= 9e15 => Ok(number as usize),
        _ => Err(format!("{text:?} is not a whole number; write 1000, 1_000 or 1e6")),
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.trim().replace('_', "").parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("{text:?} is not a number")),
    }
}

/// How long frames travel, one way, as people write it: `50ms`, `20ms..80ms` or `king`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Always as long.
    Constant(Duration),
    /// Drawn for each frame between these two.
    Uniform(Duration, Duration),
    /// As between hosts on the internet.
    King,
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "king" {
            return Ok(Latency::King);
        }
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (wait(least)?, wait(most.trim_start_matches('='))?);
            if least > most {
                return Err(format!("the shorter time comes first: write {}..{}", Wait(most), Wait(least)));
            }
            return Ok(Latency::Uniform(least, most));
        }
        wait(text).map(Latency::Constant).map_err(|_| {
            format!("{text:?} is not a latency; write 50ms for a constant, 20ms..80ms for a range, or king")
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Latency::Constant(latency) => Wait(*latency).fmt(f),
            Latency::Uniform(least, most) => write!(f, "{}..{}", Wait(*least), Wait(*most)),
            Latency::King => f.write_str("king"),
        }
    }
}

/// After how long something is noticed by itself: a wait, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice(pub Option<Duration>);

impl FromStr for Notice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Notice(None)),
            _ => wait(text).map(|wait| Notice(Some(wait))).map_err(|why| format!("{why}, or never")),
        }
    }
}

/// A wait, shown as [`wait`] takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros() as f64;
        let fits = |unit: &&(&str, f64)| micros >= unit.1;
        let (name, length) = UNITS.iter().rev().skip(2).find(fits).unwrap_or(&UNITS[2]);
        write!(f, "{}{name}", micros / length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_with_their_unit() {
        assert_eq!(wait("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(wait("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(wait("5min"), Ok(Duration::from_secs(300)));
        assert_eq!(wait("0"), Ok(Duration::ZERO));
        for (text, why) in [
            ("50", "a wait needs its unit; write 50ms, 50s or 50min"),
            ("-1s", "a wait cannot be negative"),
            ("1 week", "there is no unit \"week\"; the units are us, ms, s, min, h and d"),
            ("soon", "\"soon\" is not a wait; write 50ms, 2s or 5min"),
            ("1e9d", "there is no unit \"e9d\"; the units are us, ms, s, min, h and d"),
            ("1001d", "a wait is 1000 days at most"),
        ] {
            assert_eq!(wait(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_wait_is_shown_as_it_is_read() {
        for text in ["0s", "64us", "50ms", "1.5s", "5min"] {
            assert_eq!(Wait(wait(text).unwrap()).to_string(), text);
        }
    }

    #[test]
    fn shares_and_rates_say_what_to_write_instead() {
        assert_eq!(share("0.3"), Ok(0.3));
        assert_eq!(share("30"), Err("a share lies between 0 and 1; for 30 % write 0.3".to_owned()));
        assert_eq!(share("-0.1"), Err("a share lies between 0 and 1".to_owned()));
        assert_eq!(share("NaN"), Err("\"NaN\" is not a number".to_owned()));
        assert_eq!(rate("-2"), Err("a rate cannot be negative; 0 turns it off".to_owned()));
        assert_eq!(rate("0.05"), Ok(0.05));
    }

    #[test]
    fn counts_may_be_written_short() {
        assert_eq!(count("1_000"), Ok(1000));
        assert_eq!(count("1e6"), Ok(1_000_000));
        assert_eq!(count("0"), Err("at least 1 is needed".to_owned()));
        assert_eq!(count("1.5"), Err("\"1.5\" is not a whole number; write 1000, 1_000 or 1e6".to_owned()));
        assert_eq!(whole("-3"), Err("this cannot be negative".to_owned()));
    }

    #[test]
    fn latencies_are_shown_as_they_are_read() {
        for text in ["50ms", "20ms..80ms", "king"] {
            assert_eq!(text.parse::<Latency>().unwrap().to_string(), text);
        }
        assert_eq!("80ms..20ms".parse::<Latency>(), Err("the shorter time comes first: write 20ms..80ms".to_owned()));
        assert!("fast".parse::<Latency>().unwrap_err().contains("write 50ms for a constant"));
    }
}
