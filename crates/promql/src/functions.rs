//! The signatures of all PromQL functions. What they compute is in the evaluator.
//!
//! Source: the Prometheus manual, "Query functions".

use crate::ast::ValueType;

/// A function's signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Which function.
    pub id: FunctionId,
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; the last one's also holds for what `variadic` allows beyond.
    pub args: &'static [ValueType],
    /// 0: exactly `args`. n > 0: the last of `args` may be missing, and up to n − 1 more may follow it. −1: it may be
    /// missing, and any number may follow.
    pub variadic: i32,
    /// What it returns.
    pub returns: ValueType,
    /// Whether it must be switched on.
    pub experimental: bool,
}

impl Function {
    /// The function with this name; names are case-sensitive.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
    }

    /// The least and the largest number of arguments; `None` means any number.
    pub fn arg_count(&self) -> (usize, Option<usize>) {
        let listed = self.args.len();
        match self.variadic {
            0 => (listed, Some(listed)),
            more if more > 0 => (listed - 1, Some(listed - 1 + more as usize)),
            _ => (listed - 1, None),
        }
    }
}

macro_rules! functions {
    ($($id:ident = $name:literal ($($arg:ident),*; $variadic:literal) -> $returns:ident $($experimental:ident)?,)*) => {
        /// Names a function, so that an evaluator can `match` on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the names are PromQL's")]
        pub enum FunctionId {
            $($id,)*
        }

        /// All functions, sorted by name.
        pub static FUNCTIONS: &[Function] = &[$(Function {
            id: FunctionId::$id,
            name: $name,
            args: &[$(ValueType::$arg),*],
            variadic: $variadic,
            returns: ValueType::$returns,
            experimental: functions!(@flag $($experimental)?),
        },)*];
    };
    (@flag) => { false };
    (@flag experimental) => { true };
}

functions! {
    Abs = "abs"(Vector; 0) -> Vector,
    Absent = "absent"(Vector; 0) -> Vector,
    AbsentOverTime = "absent_over_time"(Matrix; 0) -> Vector,
    Acos = "acos"(Vector; 0) -> Vector,
    Acosh = "acosh"(Vector; 0) -> Vector,
    Asin = "asin"(Vector; 0) -> Vector,
    Asinh = "asinh"(Vector; 0) -> Vector,
    Atan = "atan"(Vector; 0) -> Vector,
    Atanh = "atanh"(Vector; 0) -> Vector,
    AvgOverTime = "avg_over_time"(Matrix; 0) -> Vector,
    Ceil = "ceil"(Vector; 0) -> Vector,
    Changes = "changes"(Matrix; 0) -> Vector,
    Clamp = "clamp"(Vector, Scalar, Scalar; 0) -> Vector,
    ClampMax = "clamp_max"(Vector, Scalar; 0) -> Vector,
    ClampMin = "clamp_min"(Vector, Scalar; 0) -> Vector,
    Cos = "cos"(Vector; 0) -> Vector,
    Cosh = "cosh"(Vector; 0) -> Vector,
    CountOverTime = "count_over_time"(Matrix; 0) -> Vector,
    DayOfMonth = "day_of_month"(Vector; 1) -> Vector,
    DayOfWeek = "day_of_week"(Vector; 1) -> Vector,
    DayOfYear = "day_of_year"(Vector; 1) -> Vector,
    DaysInMonth = "days_in_month"(Vector; 1) -> Vector,
    Deg = "deg"(Vector; 0) -> Vector,
    Delta = "delta"(Matrix; 0) -> Vector,
    Deriv = "deriv"(Matrix; 0) -> Vector,
    DoubleExponentialSmoothing = "double_exponential_smoothing"(Matrix, Scalar, Scalar; 0) -> Vector experimental,
    End = "end"(; 0) -> Scalar experimental,
    Exp = "exp"(Vector; 0) -> Vector,
    FirstOverTime = "first_over_time"(Matrix; 0) -> Vector experimental,
    Floor = "floor"(Vector; 0) -> Vector,
    HistogramAvg = "histogram_avg"(Vector; 0) -> Vector,
    HistogramCount = "histogram_count"(Vector; 0) -> Vector,
    HistogramFraction = "histogram_fraction"(Scalar, Scalar, Vector; 0) -> Vector,
    HistogramQuantile = "histogram_quantile"(Scalar, Vector; 0) -> Vector,
    HistogramQuantiles = "histogram_quantiles"(Vector, String, Scalar, Scalar; 9) -> Vector experimental,
    HistogramStddev = "histogram_stddev"(Vector; 0) -> Vector,
    HistogramStdvar = "histogram_stdvar"(Vector; 0) -> Vector,
    HistogramSum = "histogram_sum"(Vector; 0) -> Vector,
    Hour = "hour"(Vector; 1) -> Vector,
    Idelta = "idelta"(Matrix; 0) -> Vector,
    Increase = "increase"(Matrix; 0) -> Vector,
    Info = "info"(Vector, Vector; 1) -> Vector experimental,
    Integral = "integral"(Matrix, Scalar; 1) -> Vector experimental,
    Irate = "irate"(Matrix; 0) -> Vector,
    LabelJoin = "label_join"(Vector, String, String, String; -1) -> Vector,
    LabelReplace = "label_replace"(Vector, String, String, String, String; 0) -> Vector,
    LastOverTime = "last_over_time"(Matrix; 0) -> Vector,
    Ln = "ln"(Vector; 0) -> Vector,
    Log10 = "log10"(Vector; 0) -> Vector,
    Log2 = "log2"(Vector; 0) -> Vector,
    MadOverTime = "mad_over_time"(Matrix; 0) -> Vector experimental,
    MaxOf = "max_of"(Scalar, Scalar; 0) -> Scalar experimental,
    MaxOverTime = "max_over_time"(Matrix; 0) -> Vector,
    MinOf = "min_of"(Scalar, Scalar; 0) -> Scalar experimental,
    MinOverTime = "min_over_time"(Matrix; 0) -> Vector,
    Minute = "minute"(Vector; 1) -> Vector,
    Month = "month"(Vector; 1) -> Vector,
    Pi = "pi"(; 0) -> Scalar,
    PredictLinear = "predict_linear"(Matrix, Scalar; 0) -> Vector,
    PresentOverTime = "present_over_time"(Matrix; 0) -> Vector,
    QuantileOverTime = "quantile_over_time"(Scalar, Matrix; 0) -> Vector,
    Rad = "rad"(Vector; 0) -> Vector,
    Range = "range"(; 0) -> Scalar experimental,
    Rate = "rate"(Matrix; 0) -> Vector,
    Resets = "resets"(Matrix; 0) -> Vector,
    Round = "round"(Vector, Scalar; 1) -> Vector,
    Scalar = "scalar"(Vector; 0) -> Scalar,
    Sgn = "sgn"(Vector; 0) -> Vector,
    Sin = "sin"(Vector; 0) -> Vector,
    Sinh = "sinh"(Vector; 0) -> Vector,
    Sort = "sort"(Vector; 0) -> Vector,
    SortByLabel = "sort_by_label"(Vector, String; -1) -> Vector experimental,
    SortByLabelDesc = "sort_by_label_desc"(Vector, String; -1) -> Vector experimental,
    SortDesc = "sort_desc"(Vector; 0) -> Vector,
    Sqrt = "sqrt"(Vector; 0) -> Vector,
    Start = "start"(; 0) -> Scalar experimental,
    StartTimestamp = "start_timestamp"(Vector; 0) -> Vector experimental,
    StddevOverTime = "stddev_over_time"(Matrix; 0) -> Vector,
    StdvarOverTime = "stdvar_over_time"(Matrix; 0) -> Vector,
    Step = "step"(; 0) -> Scalar experimental,
    SumOverTime = "sum_over_time"(Matrix; 0) -> Vector,
    Tan = "tan"(Vector; 0) -> Vector,
    Tanh = "tanh"(Vector; 0) -> Vector,
    Time = "time"(; 0) -> Scalar,
    Timestamp = "timestamp"(Vector; 0) -> Vector,
    TsOfFirstOverTime = "ts_of_first_over_time"(Matrix; 0) -> Vector experimental,
    TsOfLastOverTime = "ts_of_last_over_time"(Matrix; 0) -> Vector experimental,
    TsOfMaxOverTime = "ts_of_max_over_time"(Matrix; 0) -> Vector experimental,
    TsOfMinOverTime = "ts_of_min_over_time"(Matrix; 0) -> Vector experimental,
    Vector = "vector"(Scalar; 0) -> Vector,
    Year = "year"(Vector; 1) -> Vector,
}

impl FunctionId {
    /// The function's name.
    pub fn as_str(self) -> &'static str {
        FUNCTIONS[self as usize].name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_found_by_name() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for function in FUNCTIONS {
            assert_eq!(Function::by_name(function.name), Some(function));
            assert_eq!(function.id.as_str(), function.name);
            assert!(function.variadic == 0 || !function.args.is_empty(), "{}", function.name);
        }
        assert_eq!(Function::by_name("Rate"), None);
        assert_eq!(Function::by_name("round").unwrap().arg_count(), (1, Some(2)));
        assert_eq!(Function::by_name("label_join").unwrap().arg_count(), (3, None));
        assert_eq!(Function::by_name("histogram_quantiles").unwrap().arg_count(), (3, Some(12)));
    }
}
