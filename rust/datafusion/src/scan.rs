//! A scan: one statement, rendered when the query is planned and sent when it is executed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use datafusion_common::stats::Precision;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result, Statistics, internal_err};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion_physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion_physical_plan::statistics::StatisticsArgs;
use datafusion_physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};

use crate::reading::{Reading, Request, RowCount, Share};
use crate::remote::{Source, external};

/// What a scan sends, and what is known of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) source: Arc<Source>,
    pub(crate) sql: String,
    pub(crate) schema: SchemaRef,
    /// The statement counts the rows, of which no column is asked for.
    pub(crate) counted: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) filtered: bool,
    /// The rows of the whole source, when last seen.
    pub(crate) row_count: Arc<RowCount>,
}

/// The leaf of a plan that reads from a warehouse.
///
/// The partitions share one statement: each takes the batches that no other has taken, so their number need not fit the
/// result, which nobody knows before the statement has run. No order is promised.
#[derive(Debug)]
pub(crate) struct WarehouseScan {
    query: Query,
    /// What EXPLAIN shows: of a plan from another library DataFusion shows the name alone.
    name: String,
    properties: Arc<PlanProperties>,
    state: Mutex<State>,
}

/// Which partitions were handed out of the statement.
#[derive(Debug, Default)]
struct State {
    /// Kept here only until each partition has its share, so that the statement ends with the last of those.
    open: Option<Arc<Reading>>,
    taken: Vec<bool>,
}

impl WarehouseScan {
    pub(crate) fn new(query: Query, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&query.schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            name: format!("WarehouseScan: sql={}", query.sql),
            query,
            properties: Arc::new(properties),
            state: Mutex::default(),
        }
    }

    fn partitions(&self) -> usize {
        self.properties.partitioning.partition_count()
    }

    /// Returns the statement whose rows the partition shares, sending it for the first one.
    fn reading(&self, partition: usize) -> Result<Arc<Reading>> {
        if self.partitions() == 1 && partition == 0 {
            // The only share has all rows, so that those of two statements are two answers.
            return self.start();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { open, taken } = &mut *state;
        taken.resize(self.partitions(), false);
        match taken.get(partition) {
            Some(false) => {}
            // A share of a second statement has rows that the shares of the first one have as well.
            Some(true) => {
                let message = format!(
                    "partition {partition} of this plan was executed before, and the partitions share one statement; \
                     plan the query again to run it again"
                );
                return Err(external(message));
            }
            None => return internal_err!("there is no partition {partition}"),
        }
        let reading = match open {
            Some(reading) => Arc::clone(reading),
            None => Arc::clone(open.insert(self.start()?)),
        };
        if let Some(taken) = taken.get_mut(partition) {
            *taken = true;
        }
        if taken.iter().all(|taken| *taken) {
            *open = None;
        }
        Ok(reading)
    }

    fn start(&self) -> Result<Arc<Reading>> {
        let Query { source, sql, schema, counted, limit, filtered, row_count } = self.query.clone();
        let is_whole = limit.is_none() && !filtered;
        let request = Request { source, sql, schema, counted, row_count: is_whole.then_some(row_count) };
        Reading::start(request, self.partitions())
    }
}

impl DisplayAs for WarehouseScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl ExecutionPlan for WarehouseScan {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        // Also how DataFusion makes a plan ready to be executed again: with nothing handed out.
        Ok(Arc::new(Self::new(self.query.clone(), self.partitions())))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream, DataFusionError> {
        let reading = self.reading(partition)?;
        Ok(Box::pin(Share::of(&reading, Arc::clone(&self.query.schema))))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.query.schema);
        if args.partition().is_none() {
            // Never exact: DataFusion would answer a count with it, and tables change.
            let rows = (!self.query.filtered).then(|| self.query.row_count.get()).flatten();
            let fewest = rows.into_iter().chain(self.query.limit).min();
            statistics.num_rows = fewest.map_or(Precision::Absent, Precision::Inexact);
        }
        Ok(Arc::new(statistics))
    }
}
