//! Plots of reports, as SVG and PNG.

use std::{fs, path::Path, sync::OnceLock};

use anyhow::{Context, Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};

use super::report::Report;

/// A picture of a report.
pub(super) struct Plot {
    /// Name of its files, without the extension.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    kind: Kind,
}

enum Kind {
    /// Values by name.
    Bars { unit: String, bars: Vec<Bar> },
    /// Nanoseconds by number of flows.
    Lines(Vec<(String, Vec<(f64, f64)>)>),
}

struct Bar {
    name: String,
    from: f64,
    to: f64,
}

const SIZE: (u32, u32) = (960, 480);
const FONT: &str = "sans-serif";

/// Where distributions put a font that has all we need.
const FONTS: [&str; 4] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
];

/// What can be drawn of a report.
pub(super) fn plots(report: &Report) -> Vec<Plot> {
    match report.bench.as_str() {
        "program" => vec![flows(report)],
        "wire" => vec![throughput(report)],
        "latency" => vec![latency(report)],
        _ => Vec::new(),
    }
}

fn flows(report: &Report) -> Plot {
    let mut lines: Vec<(String, Vec<_>)> = Vec::new();
    for case in &report.cases {
        let (Some(flows), Some(cost)) = (case.flows, case.derived.get("cost")) else {
            continue;
        };
        match lines.iter_mut().find(|(name, _)| *name == case.name) {
            Some((_, points)) => points.push((flows as f64, *cost)),
            None => lines.push((case.name.clone(), vec![(flows as f64, *cost)])),
        }
    }
    lines.retain(|(_, points)| points.len() > 1);
    Plot {
        name: "cost-by-flows",
        title: "Cost of a packet by number of flows, generator taken off",
        kind: Kind::Lines(lines),
    }
}

fn throughput(report: &Report) -> Plot {
    let cases = report.cases.iter();
    let packets = cases.filter(|case| case.unit == "packets/s" && case.flows != Some(1));
    let bars = packets.map(|case| Bar {
        name: case.name.clone(),
        from: 0.0,
        to: case.median / 1e6,
    });
    Plot {
        name: "throughput",
        title: "Million packets a second through veth on one processor, 64k flows",
        kind: Kind::Bars {
            unit: "Mpps".into(),
            bars: bars.collect(),
        },
    }
}

fn latency(report: &Report) -> Plot {
    let half = |case: &&super::report::Case| {
        case.parameters
            .get("load")
            .is_some_and(|load| load == "50 %")
    };
    let bars = report.cases.iter().filter(half).map(|case| Bar {
        name: case.name.clone(),
        from: *case.derived.get("p50").unwrap_or(&0.0) / 1e3,
        to: *case.derived.get("p99").unwrap_or(&0.0) / 1e3,
    });
    Plot {
        name: "latency",
        title: "Time on the way at half load: from the median to the 99th percentile",
        kind: Kind::Bars {
            unit: "microseconds".into(),
            bars: bars.collect(),
        },
    }
}

impl Plot {
    /// Writes `name.svg` and `name.png`.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        font()?;
        let file = |extension| directory.join(format!("{}.{extension}", self.name));
        let (svg, png) = (file("svg"), file("png"));
        self.draw(SVGBackend::new(&svg, SIZE).into_drawing_area())
            .with_context(|| format!("draw {}", svg.display()))?;
        self.draw(BitMapBackend::new(&png, SIZE).into_drawing_area())
            .with_context(|| format!("draw {}", png.display()))
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>) -> Result<()> {
        let drawn = area.fill(&WHITE).and_then(|()| {
            match &self.kind {
                Kind::Bars { unit, bars } => draw_bars(&area, self.title, unit, bars),
                Kind::Lines(lines) => draw_lines(&area, self.title, lines),
            }?;
            area.present()
        });
        // The library's error borrows the backend.
        drawn.map_err(|error| anyhow!("{error}"))
    }
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn draw_bars<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    unit: &str,
    bars: &[Bar],
) -> Drawn<B> {
    let longest = bars.iter().map(|bar| bar.to).fold(0.0, f64::max).max(1e-9);
    // The first one on top.
    let name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(place) | SegmentValue::Exact(place) => bars
            .len()
            .checked_sub(place + 1)
            .and_then(|index| bars.get(index))
            .map_or(String::new(), |bar| bar.name.clone()),
        SegmentValue::Last => String::new(),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(320)
        .build_cartesian_2d(0.0..longest * 1.15, (0..bars.len()).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(bars.len())
        .y_label_formatter(&name)
        .x_desc(unit)
        .label_style((FONT, 15))
        .draw()?;
    let places = (0..bars.len()).rev();
    chart.draw_series(places.clone().zip(bars).map(|(place, bar)| {
        let corners = [
            (bar.from, SegmentValue::Exact(place)),
            (bar.to, SegmentValue::Exact(place + 1)),
        ];
        let mut bar = Rectangle::new(corners, colour(place).filled());
        bar.set_margin(6, 6, 0, 0);
        bar
    }))?;
    chart.draw_series(places.zip(bars).map(|(place, bar)| {
        let text = format!(" {:.2}", bar.to);
        Text::new(text, (bar.to, SegmentValue::CenterOf(place)), (FONT, 15))
    }))?;
    Ok(())
}

fn draw_lines<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    lines: &[(String, Vec<(f64, f64)>)],
) -> Drawn<B> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let most = points().map(|point| point.1).fold(0.0, f64::max).max(1e-9);
    let widest = points().map(|point| point.0).fold(2.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((1.0..widest).log_scale(), 0.0..most * 1.2)?;
    chart
        .configure_mesh()
        .x_desc("flows")
        .y_desc("nanoseconds")
        .x_label_formatter(&|flows| format!("{flows:.0}"))
        .label_style((FONT, 15))
        .draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = colour(index);
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        let dots = points
            .iter()
            .map(|point| Circle::new(*point, 4, colour.filled()));
        chart.draw_series(dots)?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font((FONT, 15))
        .draw()
}

fn colour(index: usize) -> RGBColor {
    let (r, g, b) = Palette99::pick(index).rgb();
    RGBColor(r, g, b)
}

/// Gives the library a font of this machine, once.
fn font() -> Result<()> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let Some(bytes) = FONTS.iter().find_map(|path| fs::read(path).ok()) else {
            return false;
        };
        // It is wanted as long as the program runs.
        register_font(FONT, FontStyle::Normal, Box::leak(bytes.into_boxed_slice())).is_ok()
    });
    match found {
        true => Ok(()),
        false => Err(anyhow!(
            "no font for plots: `apt-get install fonts-dejavu-core`"
        )),
    }
}
