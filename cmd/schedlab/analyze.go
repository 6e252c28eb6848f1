package main

import "github.com/spf13/cobra"

func analyzeCommand() *cobra.Command { return &cobra.Command{Use: "analyze"} }
