package main

import "github.com/spf13/cobra"

func policyCommand() *cobra.Command { return &cobra.Command{Use: "policy"} }
