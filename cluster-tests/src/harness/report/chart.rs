//! Charts over the time of a run, with the faults behind them: throughput by verb, latency, errors.

use super::page::{Page, Tag};
use crate::harness::faults::Done;
use crate::harness::run::Outcome;
use crate::harness::scenario::Verb;
use crate::harness::workload::Step;

/// Width of every chart, in units of its own: it grows with the page.
pub const WIDTH: f64 = 1000.0;
/// Room at the left for names and scales.
pub const LEFT: f64 = 110.0;
/// Height of a chart.
const HEIGHT: f64 = 150.0;
/// Room below for the time.
const BELOW: f64 = 20.0;
/// Height of a lane of faults.
const LANE: f64 = 22.0;
/// How many points a line has at most.
const POINTS: f64 = 160.0;

/// The time of a run on paper.
pub struct Chart<'a> {
    outcome: &'a Outcome,
    /// End of the time that is shown.
    seconds: f64,
}

/// What happened in a part of the time.
#[derive(Clone, Debug, Default)]
struct Bin {
    done: [u32; 4],
    failed: u32,
    took_us: Vec<u64>,
}

const VERBS: [Verb; 4] = [Verb::Put, Verb::Get, Verb::Delete, Verb::Scan];

impl<'a> Chart<'a> {
    /// Of a run.
    pub fn new(outcome: &'a Outcome) -> Self {
        let healed = outcome.story.faults.iter().map(|fault| fault.healed_ms as f64 / 1000.0);
        Self { outcome, seconds: healed.fold(outcome.load_seconds, f64::max).max(0.001) }
    }

    /// Where a moment is.
    pub fn x(&self, seconds: f64) -> f64 {
        LEFT + (seconds / self.seconds).clamp(0.0, 1.0) * (WIDTH - LEFT - 10.0)
    }

    /// A drawing of that height, with its name and the scale of time.
    pub fn frame(&self, page: &mut Page, id: &str, name: &str, height: f64, inside: impl FnOnce(&mut Page)) {
        page.element("h3", "", name);
        let view = format!("0 0 {WIDTH} {}", height + BELOW);
        let svg = Tag::new("svg").with("id", id).with("viewBox", view).with("role", "img").with("aria-label", name);
        page.tag(svg, |page| {
            self.faults_behind(page, height);
            inside(page);
            self.time(page, height);
        });
    }

    fn time(&self, page: &mut Page, height: f64) {
        let step =
            [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0].into_iter().find(|step| self.seconds / step <= 14.0).unwrap_or(3600.0);
        let mut at = 0.0;
        while at <= self.seconds {
            let x = self.x(at);
            let line = Tag::new("line").with("class", "grid").with("x1", round(x)).with("x2", round(x)).with("y1", 0).with("y2", height);
            page.empty(line);
            let text = Tag::new("text").with("class", "tick").with("x", round(x)).with("y", height + 14.0);
            page.tag(text, |page| page.text(&format!("{at} s")));
            at += step;
        }
    }

    fn faults_behind(&self, page: &mut Page, height: f64) {
        for fault in &self.outcome.story.faults {
            self.bar(page, "fault-behind", fault, (0.0, height));
        }
    }

    /// A fault from its begin to its end, from `y` on, with words that are shown when it is pointed at.
    fn bar(&self, page: &mut Page, class: &str, fault: &Done, (y, height): (f64, f64)) {
        let (from, to) = (self.x(fault.began_ms as f64 / 1000.0), self.x(fault.healed_ms as f64 / 1000.0));
        let words = format!("{} {}, {} ms", fault.kind.word(), fault.what, fault.healed_ms.saturating_sub(fault.began_ms));
        let rect = Tag::new("rect").with("class", class).with("x", round(from)).with("y", round(y));
        let rect = rect.with("width", round((to - from).max(2.0))).with("height", round(height));
        page.tag(rect, |page| page.element("title", "", &words));
    }

    /// A lane for each kind of fault.
    pub fn faults(&self, page: &mut Page) {
        let faults = &self.outcome.story.faults;
        let mut kinds: Vec<&str> = faults.iter().map(|fault| fault.kind.word()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        self.frame(page, "chart-faults", "Faults", LANE * kinds.len().max(1) as f64, |page| {
            for (lane, kind) in kinds.iter().enumerate() {
                let y = lane as f64 * LANE;
                let name = Tag::new("text").with("class", "name").with("x", LEFT - 8.0).with("y", y + LANE * 0.68);
                page.tag(name, |page| page.text(kind));
                for fault in faults.iter().filter(|fault| fault.kind.word() == *kind) {
                    self.bar(page, &format!("fault fault-{kind}"), fault, (y + 4.0, LANE - 8.0));
                }
            }
        });
    }

    fn bin_seconds(&self) -> f64 {
        (self.seconds / POINTS).max(0.1)
    }

    fn bins(&self, steps: &[Step]) -> Vec<Bin> {
        let width = self.bin_seconds() * 1e6;
        let count = (self.seconds * 1e6 / width).ceil() as usize + 1;
        let mut bins = vec![Bin::default(); count];
        for step in steps {
            let ended = (step.began_us + step.took_us) as f64;
            let Some(bin) = bins.get_mut((ended / width) as usize) else { continue };
            let verb = VERBS.iter().position(|verb| *verb == step.verb).unwrap_or(0);
            if step.is_ok {
                bin.done[verb] += 1;
                bin.took_us.push(step.took_us);
            } else {
                bin.failed += 1;
            }
        }
        bins
    }

    /// Operations a second, by verb, and those that failed.
    pub fn throughput(&self, page: &mut Page) {
        let bins = self.bins(&self.outcome.story.steps);
        let a_second = |count: u32| f64::from(count) / self.bin_seconds();
        let most = bins.iter().flat_map(|bin| bin.done.iter().copied()).map(a_second).fold(1.0, f64::max);
        let used = |verb: usize| bins.iter().any(|bin| bin.done[verb] > 0);
        self.frame(page, "chart-throughput", "Operations a second", HEIGHT, |page| {
            scale(page, most, "");
            for (number, verb) in VERBS.iter().enumerate().filter(|(number, _)| used(*number)) {
                let points: Vec<(f64, f64)> = self.points(&bins, |bin| Some(a_second(bin.done[number]) / most));
                line(page, &format!("line verb-{}", verb.word()), &points, verb.word());
            }
            for (at, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.failed > 0) {
                let x = self.x((at as f64 + 0.5) * self.bin_seconds());
                let mark = Tag::new("circle").with("class", "failed").with("cx", round(x)).with("cy", HEIGHT - 4.0).with("r", 3);
                page.tag(mark, |page| page.element("title", "", &format!("{} failed", bin.failed)));
            }
        });
        legend(page, &VERBS.iter().enumerate().filter(|(number, _)| used(*number)).map(|(_, verb)| verb.word()).collect::<Vec<_>>());
    }

    /// Median and longest of each part of the time, on a scale of powers of ten.
    pub fn latency(&self, page: &mut Page) {
        let mut bins = self.bins(&self.outcome.story.steps);
        bins.iter_mut().for_each(|bin| bin.took_us.sort_unstable());
        let longest = bins.iter().filter_map(|bin| bin.took_us.last()).max().copied().unwrap_or(1000).max(1000) as f64;
        let decades = (longest / 100.0).log10().ceil().max(1.0);
        // From 0.1 ms on.
        let height = move |us: u64| ((us as f64 / 100.0).max(1.0).log10() / decades).min(1.0);
        self.frame(page, "chart-latency", "How long operations took: half of them, and the longest", HEIGHT, |page| {
            for decade in 0..=decades as u32 {
                let y = HEIGHT - f64::from(decade) / decades * (HEIGHT - 10.0);
                let ms = 0.1 * 10f64.powi(decade as i32);
                let text = Tag::new("text").with("class", "name").with("x", LEFT - 8.0).with("y", round(y + 4.0));
                page.tag(text, |page| page.text(&format!("{ms} ms")));
                let grid = Tag::new("line")
                    .with("class", "grid")
                    .with("x1", LEFT)
                    .with("x2", WIDTH - 10.0)
                    .with("y1", round(y))
                    .with("y2", round(y));
                page.empty(grid);
            }
            let median = self.points(&bins, |bin| bin.took_us.get(bin.took_us.len() / 2).map(|us| height(*us)));
            let most = self.points(&bins, |bin| bin.took_us.last().map(|us| height(*us)));
            line(page, "line longest", &most, "longest");
            line(page, "line median", &median, "half");
        });
        legend(page, &["median", "longest"]);
    }

    /// Places of what each part of the time has, as a share of the height.
    fn points(&self, bins: &[Bin], of: impl Fn(&Bin) -> Option<f64>) -> Vec<(f64, f64)> {
        let place = |(at, bin): (usize, &Bin)| {
            let share = of(bin)?;
            Some((self.x((at as f64 + 0.5) * self.bin_seconds()), HEIGHT - share * (HEIGHT - 10.0)))
        };
        bins.iter().enumerate().filter_map(place).collect()
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn line(page: &mut Page, class: &str, points: &[(f64, f64)], words: &str) {
    let text: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", round(*x), round(*y))).collect();
    page.tag(Tag::new("polyline").with("class", class).with("points", text.join(" ")), |page| page.element("title", "", words));
}

fn scale(page: &mut Page, most: f64, unit: &str) {
    for share in [0.0, 0.5, 1.0] {
        let y = HEIGHT - share * (HEIGHT - 10.0);
        let text = Tag::new("text").with("class", "name").with("x", LEFT - 8.0).with("y", round(y + 4.0));
        page.tag(text, |page| page.text(&format!("{:.0}{unit}", most * share)));
    }
}

fn legend(page: &mut Page, names: &[&str]) {
    page.tag(Tag::new("p").with("class", "legend"), |page| {
        for name in names {
            page.raw(&format!("<span><i class=\"key {name}\"></i> {name}</span> "));
        }
    });
}
