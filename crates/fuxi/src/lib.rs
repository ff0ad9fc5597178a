//! The batch engine: grants, DAG progress, instance hand-out. Pure: never IO, never knows pods.
